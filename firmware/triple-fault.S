/*
 * UD2 with an empty interrupt table: no handler for #UD, none for the double fault that follows, so the processor shuts down.
 * Protected mode. EAX carries a mark for whoever looks at the registers.
 */
	.code32
	.globl _start
_start:
	mov	$0x7e57, %eax
	lidt	empty
	ud2
empty:	.word	0
	.long	0
