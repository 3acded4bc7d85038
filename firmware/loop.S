/* Never exits: only a kick gets the vCPU out of the guest. The same bytes in every mode. */
	.code16
	.globl _start
_start:
	jmp	_start
