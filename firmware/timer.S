/*
 * The in-kernel i8254: channel 0 in mode 2 at 1,000 Hz raises IRQ0; after PARAMETER ticks the guest reports the count and powers off.
 * Protected mode, no exit to user space until then.
 */
#include "micro.h"
	.code32
	.globl _start
_start:
	mov	$tick, %eax
	mov	%ax, gate
	shr	$16, %eax
	mov	%ax, gate + 6
	lidt	idtr

	mov	$0x11, %al		/* 8259A: see interrupt.S */
	out	%al, $0x20
	mov	$32, %al
	out	%al, $0x21
	mov	$4, %al
	out	%al, $0x21
	mov	$1, %al
	out	%al, $0x21
	mov	$0xfe, %al		/* all masked but IRQ0 */
	out	%al, $0x21

	mov	$0x34, %al		/* channel 0, low and high byte, mode 2 */
	out	%al, $0x43
	mov	$0xa9, %al		/* 1193 = 1.193182 MHz / 1000 Hz */
	out	%al, $0x40
	mov	$0x04, %al
	out	%al, $0x40

	xor	%ebx, %ebx
1:	sti
	hlt				/* every tick comes here, and goes on at 2: */
	jmp	1b
2:	cmp	PARAMETER, %ebx
	jb	1b
	mov	%ebx, %eax
	mov	$PORT_TEST, %dx
	out	%eax, %dx
	POWER_OFF
	hlt

/* Interrupts are off in here. Instead of IRET, which interpreting KVMs lack: drop EIP, CS and EFLAGS. */
tick:	add	$12, %esp
	inc	%ebx
	mov	$0x20, %al		/* end of interrupt */
	out	%al, $0x20
	jmp	2b

	.balign	8
idt:	.fill	32, 8, 0
gate:	.word	0, 0x10
	.byte	0, 0x8e
	.word	0
idtr:	.word	idtr - idt - 1
	.long	idt
