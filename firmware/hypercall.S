/*
 * A hypercall, as Intel and AMD spell it; KVM answers either on any processor. Only KVM_HC_MAP_GPA_RANGE (12) can exit to user space, and
 * only with KVM_CAP_EXIT_HYPERCALL; everything else KVM refuses itself (RAX = -KVM_ENOSYS). Reports RAX's low half. Long mode.
 */
#include "micro.h"
	.code64
	.globl _start
_start:
	mov	$12, %eax
	mov	$BUFFER, %ebx		/* guest-physical address */
	mov	$1, %ecx		/* pages */
	xor	%edx, %edx		/* attributes */
	vmmcall
	mov	$PORT_TEST, %dx
	out	%eax, %dx
	hlt
