/*
 * An interrupt from outside: the 8259A is set up with vectors 32 and up (ICW1 to ICW4), IRQ4 (COM1's) is unmasked, and the guest sleeps until
 * one comes. The handler reports its vector, ends the interrupt and powers off. Long mode: IDT gates are 16 bytes.
 */
#include "micro.h"
#define VECTOR 36			/* 32 + IRQ4 */
	.code64
	.globl _start
_start:
	mov	$handler, %eax
	mov	%ax, gate
	shr	$16, %eax
	mov	%ax, gate + 6
	lidt	idtr

	mov	$0x11, %al		/* ICW1: edge-triggered, cascaded, ICW4 follows */
	out	%al, $0x20
	out	%al, $0xa0
	mov	$32, %al		/* ICW2: first vector */
	out	%al, $0x21
	mov	$40, %al
	out	%al, $0xa1
	mov	$4, %al			/* ICW3: the slave hangs on IRQ2 */
	out	%al, $0x21
	mov	$2, %al
	out	%al, $0xa1
	mov	$1, %al			/* ICW4: 8086 mode */
	out	%al, $0x21
	out	%al, $0xa1
	mov	$0xef, %al		/* all masked but IRQ4 */
	out	%al, $0x21
	mov	$0xff, %al
	out	%al, $0xa1

	mov	$PORT_TEST, %dx
	mov	$1, %al			/* ready */
	out	%al, %dx
	sti
1:	hlt
	jmp	1b

handler:
	mov	$PORT_TEST, %dx
	mov	$VECTOR, %al
	out	%al, %dx
	mov	$0x20, %al		/* end of interrupt */
	out	%al, $0x20
	POWER_OFF
	hlt

	.balign	16
idt:	.fill	VECTOR * 2, 8, 0
gate:	.word	0, 0x10			/* offset 15:0, selector of the boot GDT */
	.byte	0, 0x8e			/* no IST; present, 64-bit interrupt gate */
	.word	0
	.long	0, 0
idtr:	.word	idtr - idt - 1
	.quad	idt
