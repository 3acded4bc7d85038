/*
 * RDMSR and WRMSR of a register that no processor has. With KVM_CAP_X86_USER_SPACE_MSR both exit to user space, which answers with data or
 * with an error; an error becomes #GP, whose handler says so at the port and skips the two-byte instruction. Protected mode.
 */
#include "micro.h"
#define UNKNOWN_MSR 0x0badf00d
	.code32
	.globl _start
_start:
	/* An interrupt gate for vector 13, made at run time: its offset is split over two halves. */
	mov	$fault, %eax
	mov	%ax, gate
	shr	$16, %eax
	mov	%ax, gate + 6
	lidt	idtr

	mov	$UNKNOWN_MSR, %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	rdmsr
	mov	%edx, %ebx
	mov	$PORT_TEST, %edx
	out	%eax, %dx		/* low half as read */
	mov	%ebx, %eax
	out	%eax, %dx		/* high half */
	mov	$0x55667788, %eax
	mov	$0x11223344, %edx
	wrmsr
	hlt

/*
 * The processor pushed EFLAGS, CS, EIP and the error code. IRET would do, but KVMs that interpret the guest do not know it in
 * protected mode; with interrupts off and one code segment a jump does as well.
 */
fault:	mov	$PORT_TEST, %edx
	mov	$13, %al
	out	%al, %dx		/* one byte: #GP */
	mov	$UNKNOWN_MSR, %ecx
	mov	4(%esp), %ebx
	add	$2, %ebx		/* behind RDMSR or WRMSR */
	add	$16, %esp
	jmp	*%ebx

	.balign	8
idt:	.fill	13, 8, 0
gate:	.word	0, 0x10			/* offset 15:0, selector of the boot GDT */
	.byte	0, 0x8e			/* present, 32-bit interrupt gate */
	.word	0
idtr:	.word	idtr - idt - 1
	.long	idt
