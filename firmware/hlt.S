/* HLT: an exit on machines without interrupt controllers; with them KVM keeps the vCPU asleep. The same byte in every mode. */
	.code16
	.globl _start
_start:
	hlt
