/* OUTs 0, 1, 2, … to PORT_TEST, PARAMETER of them, then HLT: every exit can be told from every other. Protected mode. */
#include "micro.h"
	.code32
	.globl _start
_start:
	mov	PARAMETER, %ecx
	mov	$PORT_TEST, %edx
	xor	%eax, %eax
1:	out	%eax, %dx
	inc	%eax
	cmp	%ecx, %eax
	jne	1b
	hlt
