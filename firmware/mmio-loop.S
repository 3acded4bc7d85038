/* PARAMETER four-byte stores to MMIO_TEST, then HLT: what an MMIO exit costs. Long mode. */
#include "micro.h"
	.code64
	.globl _start
_start:
	mov	PARAMETER, %ecx
	mov	$MMIO_TEST, %ebx
1:	mov	%eax, (%rbx)
	dec	%ecx
	jnz	1b
	hlt
