/* Writes to the serial port for ever and never asks whether there is room: single bytes and whole strings. Real mode. */
#include "micro.h"
	.code16
	.globl _start
_start:
	cld
1:	mov	$COM1, %dx
	mov	$'.', %al
	out	%al, %dx
	mov	$0x1000, %si
	mov	$64, %cx
	rep outsb
	jmp	1b
