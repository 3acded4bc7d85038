/* PARAMETER one-byte OUTs to PORT_TEST, then HLT: what a PIO exit costs. Long mode. */
#include "micro.h"
	.code64
	.globl _start
_start:
	mov	PARAMETER, %ecx
	mov	$PORT_TEST, %edx
1:	out	%al, %dx
	dec	%ecx
	jnz	1b
	hlt
