/* Prints a line to the serial port as a driver does, waiting for room, and powers off. The smallest guest that `tvmm boot` runs. Real mode. */
#include "micro.h"
	.code16
	.globl _start
_start:
	mov	$text, %si
1:	mov	$COM1_LSR, %dx
2:	in	%dx, %al
	test	$LSR_THRE, %al
	jz	2b
	lodsb
	test	%al, %al
	jz	3f
	mov	$COM1, %dx
	out	%al, %dx
	jmp	1b
3:	POWER_OFF
	hlt
text:	.asciz	"hello from a guest\r\n"
