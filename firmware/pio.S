/* Port I/O of 1, 2 and 4 bytes, each way. What IN gives is sent back by OUT, so that a test sees that it arrived. Real mode. */
#include "micro.h"
	.code16
	.globl _start
_start:
	mov	$PORT_TEST, %dx
	mov	$0x11, %al
	out	%al, %dx
	mov	$0x2222, %ax
	out	%ax, %dx
	mov	$0x44444444, %eax
	out	%eax, %dx

	xor	%eax, %eax
	in	%dx, %al
	out	%eax, %dx
	xor	%eax, %eax
	in	%dx, %ax
	out	%eax, %dx
	xor	%eax, %eax
	in	%dx, %eax
	out	%eax, %dx
	hlt
