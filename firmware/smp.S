/*
 * Starts every other processor: INIT and STARTUP interrupts to all but self (Intel SDM vol. 3A, 9.4.4). Each writes its APIC id's mark and
 * sleeps; the boot processor waits until PARAMETER of them have, reports the count and powers off. Long mode; the others start
 * in real mode at page 2.
 */
#include "micro.h"
#define LAPIC_ICR_LOW 0xfee00300
#define TO_OTHERS_INIT 0xc4500
#define TO_OTHERS_SIPI 0xc4602		/* vector 2: CS:IP = 0x0200:0 */
	.code64
	.globl _start
_start:
	mov	$LAPIC_ICR_LOW, %ebx
	movl	$TO_OTHERS_INIT, (%rbx)
	mov	$100000, %ecx		/* 10 ms on hardware: emulated local APICs need less */
1:	pause
	loop	1b
	movl	$TO_OTHERS_SIPI, (%rbx)
2:	pause
	mov	BUFFER, %eax
	cmp	PARAMETER, %eax
	jne	2b
	mov	$PORT_TEST, %dx
	out	%eax, %dx
	POWER_OFF
	hlt

	.org	0x1000			/* address 0x2000 */
	.code16
	lock incl %cs:BUFFER - 0x2000
	cli
3:	hlt
	jmp	3b
