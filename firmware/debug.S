/* Four instructions to step through, then a breakpoint instruction. Protected mode. */
	.code32
	.globl _start
_start:
	mov	$1, %eax
	inc	%eax
	inc	%eax
	nop
	int3
	hlt
