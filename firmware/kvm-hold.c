/*
 * Keeps the lab's kernel from patching its own code (@static; the lab's initramfs runs it once, before anything else uses /dev/kvm).
 *
 * KVM turns code on and off with static keys, which Linux rewrites in place while other processors run: preempt_notifier_key in the
 * scheduler while any VM exists, apic_sw_disabled while a local APIC is not enabled, kvm_has_noapic_vcpu while a vCPU has none. QEMU's
 * TCG before 8.1 may keep a translation of a byte that is rewritten while it is being translated; a processor of the lab then takes
 * the same breakpoint for ever with interrupts off, and the lab stands still. Two idle VMs hold all three keys where they are.
 *
 * Exits with status 0 when they are held, by a child that sleeps as long as the machine is up.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return fail("/dev/kvm");
	int with_apic = ioctl(kvm, KVM_CREATE_VM, 0);
	int without = ioctl(kvm, KVM_CREATE_VM, 0);
	if (with_apic < 0 || without < 0)
		return fail("KVM_CREATE_VM");
	if (ioctl(with_apic, KVM_CREATE_IRQCHIP, 0) < 0)
		return fail("KVM_CREATE_IRQCHIP");
	if (ioctl(with_apic, KVM_CREATE_VCPU, 0) < 0 || ioctl(without, KVM_CREATE_VCPU, 0) < 0)
		return fail("KVM_CREATE_VCPU");
	pid_t child = fork();
	if (child < 0)
		return fail("fork");
	if (child > 0)
		return 0;
	setsid();
	for (;;)
		pause();
}
