/*
 * Loads and stores of 1, 2, 4 and 8 bytes where no memory is, aligned and not; one that straddles a page. What is read is stored
 * back, so that a test sees that it arrived. Long mode: the boot page tables map the first 4 GiB one to one.
 */
#include "micro.h"
	.code64
	.globl _start
_start:
	mov	$MMIO_TEST, %ebx
	movb	$0x11, (%rbx)
	movw	$0x2222, 2(%rbx)
	movl	$0x44444444, 4(%rbx)
	movabs	$0x8877665544332211, %rax
	mov	%rax, 8(%rbx)

	movzbl	0x10(%rbx), %eax
	mov	%eax, 0x20(%rbx)
	movzwl	0x12(%rbx), %eax
	mov	%eax, 0x20(%rbx)
	mov	0x14(%rbx), %eax
	mov	%eax, 0x20(%rbx)
	mov	0x18(%rbx), %rax
	mov	%rax, 0x20(%rbx)

	movw	$0x2211, 0x31(%rbx)	/* odd */
	movl	$0x44332211, 0x43(%rbx)
	movl	$0x44332211, 0xffe(%rbx)	/* two bytes on each page: two exits */
	hlt
