/*
 * Reports every basic CPUID leaf and the hypervisor leaves by OUT: leaf, EAX, EBX, ECX, EDX. Subleaf 0 each. Protected mode.
 * CPUID itself exits to the kernel only; user space sees it through what it set with KVM_SET_CPUID2.
 */
#include "micro.h"
	.code32
	.globl _start
_start:
	xor	%eax, %eax
	cpuid
	mov	%eax, %ebp		/* the highest basic leaf */
	xor	%esi, %esi
1:	call	report
	inc	%esi
	cmp	%ebp, %esi
	jbe	1b
	mov	$0x40000000, %esi
	call	report
	mov	$0x40000001, %esi
	call	report
	hlt

/* Leaf in ESI. */
report:
	mov	%esi, %eax
	xor	%ecx, %ecx
	cpuid
	mov	%edx, %edi
	mov	$PORT_TEST, %edx
	push	%eax
	mov	%esi, %eax
	out	%eax, %dx
	pop	%eax
	out	%eax, %dx
	mov	%ebx, %eax
	out	%eax, %dx
	mov	%ecx, %eax
	out	%eax, %dx
	mov	%edi, %eax
	out	%eax, %dx
	ret
