/*
 * A hostile guest: writes random values, of all sizes and at all alignments, to every device port, to PCI configuration space by both ways
 * and to the windows of virtio and PCI devices, then reads them all. The seed is PARAMETER. It leaves out the power and
 * reset registers, which would end it early; what is left of it when it is done powers off. Protected mode.
 */
#include "micro.h"
#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
/* How many rounds: the word behind the seed. */
#define ROUNDS (PARAMETER + 4)
	.code32
	.globl _start
_start:
	mov	PARAMETER, %ebp
	mov	ROUNDS, %edi

round:	/* A random device port. */
	call	random
	xor	%edx, %edx
	mov	$(ports_end - ports) / 4, %ecx
	div	%ecx
	movzwl	ports(, %edx, 4), %esi	/* first port */
	movzwl	ports + 2(, %edx, 4), %ecx	/* how many */
	call	random
	xor	%edx, %edx
	div	%ecx
	add	%esi, %edx
	call	random
	test	$1 << 20, %eax
	jz	1f
	test	$1 << 21, %eax
	jz	2f
	out	%eax, %dx
	jmp	3f
2:	out	%ax, %dx
	jmp	3f
1:	out	%al, %dx
3:	in	%dx, %al
	in	%dx, %ax
	in	%dx, %eax

	/* PCI configuration by ports: any of the first 8 devices, any register, any part of it. */
	call	random
	and	$0x3fff, %eax
	or	$1 << 31, %eax
	mov	$CONFIG_ADDRESS, %dx
	out	%eax, %dx
	call	random
	mov	%eax, %edx
	and	$3, %edx
	add	$CONFIG_DATA, %edx
	out	%al, %dx
	in	%dx, %al
	and	$~3, %edx
	call	random
	out	%eax, %dx
	in	%dx, %eax

	/* PCI configuration by memory: any of the first 8 devices. */
	call	random
	and	$0x3ffff, %eax
	add	$0xe0000000, %eax
	call	scribble

	/* Windows of PCI and virtio-mmio devices: the first pages of each, where registers are. */
	call	random
	and	$0x1ffff, %eax
	add	$0xc0000000, %eax
	call	scribble
	call	random
	and	$0x3fff, %eax
	add	$0xd0000000, %eax
	call	scribble
	/* virtio-mmio: registers lie in the first 0x120 bytes, word by word. */
	call	random
	mov	%eax, %ebx
	and	$0x3000, %ebx
	and	$0x1fc, %eax
	lea	0xd0000000(%eax, %ebx), %ebx
	call	random
	and	$0xf, %eax
	mov	%eax, (%ebx)

	dec	%edi
	jnz	round
	POWER_OFF
	hlt

/* Stores and loads at the address in EAX, 1, 2 and 4 bytes. */
scribble:
	mov	%eax, %ebx
	call	random
	test	$1 << 20, %eax
	jz	1f
	test	$1 << 21, %eax
	jz	2f
	mov	%eax, (%ebx)
	jmp	3f
2:	mov	%ax, (%ebx)
	jmp	3f
1:	mov	%al, (%ebx)
3:	mov	(%ebx), %al
	mov	(%ebx), %ax
	mov	(%ebx), %eax
	ret

/* xorshift32 (G. Marsaglia, 2003) in EBP; the result in EAX. */
random:	mov	%ebp, %eax
	shl	$13, %eax
	xor	%eax, %ebp
	mov	%ebp, %eax
	shr	$17, %eax
	xor	%eax, %ebp
	mov	%ebp, %eax
	shl	$5, %eax
	xor	%eax, %ebp
	mov	%ebp, %eax
	ret

	/* First port and count: COM1, RTC, i8042, delay port, configuration address. */
ports:	.word	COM1, 8
	.word	0x70, 2
	.word	0x60, 1
	.word	0x80, 1
	.word	0xcf8, 1
	.word	0x20, 2			/* in-kernel: both interrupt controllers, the timer */
	.word	0xa0, 2
	.word	0x40, 4
ports_end:
