/*
 * What the micro-guests and their tests agree on: where a guest reports, and what it is told.
 * A guest reports by OUT to PORT_TEST and ends with HLT (machines without interrupt controllers) or POWER_OFF.
 */
/* No device of the machine answers here. */
#define PORT_TEST 0x500
/* In the MMIO gap, in no device's window. */
#define MMIO_TEST 0xd8000000
/* A 32-bit word that the test writes before the start: how often, or with which seed. */
#define PARAMETER 0x8000
/* Scratch memory of the guest. */
#define BUFFER 0x9000

#define COM1 0x3f8
#define COM1_LSR 0x3fd
#define LSR_THRE 0x20

/* Hardware-reduced ACPI (section 4.8.3.7): SLP_TYP 5 in bits 4:2, SLP_EN in bit 5. */
#define SLEEP_CONTROL 0x600
#define SLEEP_S5 ((5 << 2) | 0x20)

.macro POWER_OFF
	mov	$SLEEP_CONTROL, %dx
	mov	$SLEEP_S5, %al
	out	%al, %dx
.endm
