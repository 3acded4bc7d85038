/*
 * The peer of bench/exit.ts: the same flat guest on the same KVM set-up, its exits answered by a switch and a function pointer, as a small C
 * VMM would. Measures from the first KVM_RUN to the guest's HLT.
 *
 *     exit-loop GUEST.bin PIO_BASE MMIO_BASE COUNT
 *
 * Prints: the nanoseconds it took and how many accesses the device saw.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

enum { RAM_SIZE = 2 << 20, LOAD_ADDRESS = 0x1000, PARAMETER = 0x8000, PAGE_TABLES = 0x91000, GDT = 0x90000 };
#define WINDOW 0x1000

/* The device: a counter and the last value, as in bench/exit.ts. */
struct device {
	uint64_t base;
	uint64_t size;
	uint32_t (*read)(struct device *, uint64_t offset, unsigned size);
	void (*write)(struct device *, uint64_t offset, unsigned size, uint32_t value);
	uint32_t accesses;
	uint32_t last;
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint32_t device_read(struct device *device, uint64_t offset, unsigned size)
{
	(void)offset, (void)size;
	device->accesses++;
	return device->last;
}

static void device_write(struct device *device, uint64_t offset, unsigned size, uint32_t value)
{
	(void)offset, (void)size;
	device->accesses++;
	device->last = value;
}

static struct kvm_segment flat(uint16_t selector, uint8_t type, int is_long)
{
	return (struct kvm_segment){ .limit = 0xffffffff, .selector = selector, .type = type, .present = 1,
				     .db = !is_long, .s = 1, .l = is_long, .g = 1 };
}

/* Long mode, the first 4 GiB mapped one to one by 2 MiB pages: what src/boot/flat.ts sets up. */
static void enter_long_mode(int vcpu, uint8_t *ram)
{
	uint64_t *tables = (uint64_t *)(ram + PAGE_TABLES);
	tables[0] = (PAGE_TABLES + 0x1000) | 3;
	for (uint64_t i = 0; i < 4; i++)
		tables[512 + i] = (PAGE_TABLES + 0x2000 + i * 0x1000) | 3;
	for (uint64_t i = 0; i < 2048; i++)
		tables[1024 + i] = (i << 21) | 0x83;

	struct kvm_sregs sregs;
	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		fail("KVM_GET_SREGS");
	sregs.cs = flat(0x10, 0xb, 1);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat(0x18, 3, 0);
	sregs.tr = (struct kvm_segment){ .limit = 0x67, .selector = 0x20, .type = 0xb, .present = 1 };
	uint64_t *gdt = (uint64_t *)(ram + GDT);
	gdt[2] = 0x00af9b000000ffff;
	gdt[3] = 0x00cf93000000ffff;
	gdt[4] = 0x00008b0000000067;
	sregs.gdt = (struct kvm_dtable){ .base = GDT, .limit = 47 };
	sregs.cr3 = PAGE_TABLES;
	sregs.cr4 = 1 << 5;
	sregs.cr0 = 0x80000011;
	sregs.efer = 0x500;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0)
		fail("KVM_SET_SREGS");
	struct kvm_regs regs = { .rflags = 2, .rip = LOAD_ADDRESS, .rsp = GDT };
	if (ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		fail("KVM_SET_REGS");
}

static void handle_io(struct kvm_run *run, struct device *pio)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	if (run->io.port < pio->base || run->io.port >= pio->base + pio->size)
		return;
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		uint32_t value = 0;
		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&value, data, run->io.size);
			pio->write(pio, run->io.port - pio->base, run->io.size, value);
		} else {
			value = pio->read(pio, run->io.port - pio->base, run->io.size);
			memcpy(data, &value, run->io.size);
		}
	}
}

static void handle_mmio(struct kvm_run *run, struct device *mmio)
{
	uint32_t value = 0;
	unsigned size = run->mmio.len < 4 ? run->mmio.len : 4;
	if (run->mmio.phys_addr < mmio->base || run->mmio.phys_addr >= mmio->base + mmio->size)
		return;
	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, size);
		mmio->write(mmio, run->mmio.phys_addr - mmio->base, size, value);
	} else {
		value = mmio->read(mmio, run->mmio.phys_addr - mmio->base, size);
		memcpy(run->mmio.data, &value, size);
	}
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: exit-loop GUEST.bin PIO_BASE MMIO_BASE COUNT\n");
		return 2;
	}
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		fail("/dev/kvm");
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		fail("KVM_CREATE_VM");
	uint8_t *ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ram == MAP_FAILED)
		fail("mmap");
	struct kvm_userspace_memory_region region = { .memory_size = RAM_SIZE, .userspace_addr = (uintptr_t)ram };
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		fail("KVM_SET_USER_MEMORY_REGION");

	FILE *guest = fopen(argv[1], "rb");
	if (guest == NULL || fread(ram + LOAD_ADDRESS, 1, 4096, guest) == 0)
		fail(argv[1]);
	fclose(guest);
	uint32_t count = strtoul(argv[4], NULL, 0);
	memcpy(ram + PARAMETER, &count, 4);

	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		fail("KVM_CREATE_VCPU");
	struct kvm_run *run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		fail("kvm_run");
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));
	cpuid->nent = 256;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid) < 0 || ioctl(vcpu, KVM_SET_CPUID2, cpuid) < 0)
		fail("CPUID");
	enter_long_mode(vcpu, ram);

	struct device pio = { strtoull(argv[2], NULL, 0), WINDOW, device_read, device_write, 0, 0 };
	struct device mmio = { strtoull(argv[3], NULL, 0), WINDOW, device_read, device_write, 0, 0 };
	struct timespec start, end;
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int running = 1; running;) {
		if (ioctl(vcpu, KVM_RUN, 0) < 0)
			fail("KVM_RUN");
		switch (run->exit_reason) {
		case KVM_EXIT_IO:
			handle_io(run, &pio);
			break;
		case KVM_EXIT_MMIO:
			handle_mmio(run, &mmio);
			break;
		case KVM_EXIT_HLT:
			running = 0;
			break;
		default:
			fprintf(stderr, "exit reason %u\n", run->exit_reason);
			return 1;
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%lld %u\n", (end.tv_sec - start.tv_sec) * 1000000000LL + (end.tv_nsec - start.tv_nsec),
	       pio.accesses + mmio.accesses);
	return 0;
}
