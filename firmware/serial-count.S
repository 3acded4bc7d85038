/* Sends PARAMETER bytes to the serial port, 0, 1, 2, … 255, 0, …, waiting for room before each, and powers off. Real mode. */
#include "micro.h"
	.code16
	.globl _start
_start:
	mov	PARAMETER, %ecx
	xor	%ebx, %ebx
1:	mov	$COM1_LSR, %dx
2:	in	%dx, %al
	test	$LSR_THRE, %al
	jz	2b
	mov	$COM1, %dx
	mov	%bl, %al
	out	%al, %dx
	inc	%bx
	dec	%ecx
	jnz	1b
	POWER_OFF
	hlt
