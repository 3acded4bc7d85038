/**
 * The device tree: which devices a machine has, where they are, and how each thread gets its own objects over the shared state. The order of
 * construction is the layout of the state and of the eventfds: it must be the same on every thread, so it depends on the tree alone.
 */

import { ACPI_PM_PORT, ACPI_PM_PORTS, AcpiPm } from '../devices/acpi-pm.js';
import { Bus } from '../devices/bus.js';
import { type DeviceContext, EventfdReplay } from '../devices/context.js';
import { DELAY_PORT, DelayPort } from '../devices/delay-port.js';
import type { InterruptLine, RequestMachine } from '../devices/device.js';
import { I8042, I8042_COMMAND_PORT, I8042_DATA_PORT } from '../devices/i8042.js';
import { SharedInterruptLine } from '../devices/irq.js';
import { MsiRoutes } from '../devices/msi.js';
import { PciRoot } from '../devices/pci/index.js';
import { RESET_CONTROL_PORT, ResetControl, SYSTEM_CONTROL_A_PORT, SystemControlA } from '../devices/reset.js';
import { RTC_PORT, RTC_PORTS, Rtc } from '../devices/rtc.js';
import { COM1, SERIAL_PORTS, Serial } from '../devices/serial.js';
import { StateArena } from '../devices/state.js';
import { VirtioBlk } from '../devices/virtio/blk.js';
import { VirtioConsole } from '../devices/virtio/console.js';
import type { VirtioDevice } from '../devices/virtio/device.js';
import type { DiskInfo } from '../devices/virtio/disk-image.js';
import { IoControl, IoLoop } from '../devices/virtio/io-loop.js';
import { VirtioMmio } from '../devices/virtio/mmio.js';
import { VirtioPci } from '../devices/virtio/pci.js';
import { VirtioRng } from '../devices/virtio/rng.js';
import { Vm } from '../kvm/vm.js';
import { GuestMemory } from '../memory/guest-memory.js';
import type { Buses } from '../vcpu/handle-exit.js';
import type { PortConfig } from './config.js';
import { virtioMmioWindow } from './platform.js';
import type { MachineView } from './threads.js';

/** What the devices of a machine are, as plain data: the same on every thread. */
export interface DeviceTree {
  readonly transport: 'pci' | 'mmio';
  /** Without in-kernel interrupt controllers no device can interrupt, and there are no virtio devices. */
  readonly irqchip: boolean;
  readonly serialFd: number;
  readonly disks: readonly (DiskInfo & { readonly id: string })[];
  readonly ports: readonly PortConfig[];
  readonly rng: boolean;
  readonly blockEngine: 'auto' | 'sync';
}

/** One thread's view of the devices. */
export interface Devices {
  readonly buses: Buses;
  readonly serial: Serial;
  readonly virtio: readonly VirtioDevice[];
  readonly io: IoControl;
}

/** How many virtio devices the tree has. */
export function virtioCount(tree: DeviceTree): number {
  return tree.irqchip ? tree.disks.length + (tree.ports.length > 0 ? 1 : 0) + (tree.rng ? 1 : 0) : 0;
}

const NO_LINE: InterruptLine = { gsi: -1, setLevel() {} };

/** Builds the tree over `context`. The machine's owner calls it first; see {@link attachDevices} for the other threads. */
export function buildDevices(tree: DeviceTree, context: DeviceContext): Devices {
  const pio = new Bus('PIO');
  const mmio = new Bus('MMIO');
  const line = tree.irqchip ? new SharedInterruptLine(context, COM1.gsi).connect('COM1') : NO_LINE;
  const serial = new Serial(context, { line, outputFd: tree.serialFd });
  const resetControl = new ResetControl(context);
  pio.add(COM1.port, SERIAL_PORTS, serial);
  pio.add(SYSTEM_CONTROL_A_PORT, 1, new SystemControlA(context));
  pio.add(RTC_PORT, RTC_PORTS, new Rtc(context));
  const i8042 = new I8042(context);
  pio.add(I8042_DATA_PORT, 1, i8042.data);
  pio.add(I8042_COMMAND_PORT, 1, i8042.command);
  pio.add(ACPI_PM_PORT, ACPI_PM_PORTS, new AcpiPm(context));
  pio.add(DELAY_PORT, 1, new DelayPort(context));

  const io = new IoControl(context);
  const virtio = tree.irqchip ? virtioDevices(tree, context) : [];
  if (tree.transport === 'pci') {
    const root = new PciRoot(context, resetControl);
    const routes = new MsiRoutes(context);
    for (const device of virtio) root.add(new VirtioPci(context, routes, device));
    root.attach(pio, mmio);
  } else {
    pio.add(RESET_CONTROL_PORT, 1, resetControl);
    virtio.forEach((device, index) => {
      const { base, size, gsi } = virtioMmioWindow(index);
      mmio.add(base, size, new VirtioMmio(context, device, { base, gsi }));
    });
  }
  return { buses: { pio, mmio }, serial, virtio, io };
}

/** Disks first, so that they are found in the order of the command line. */
function virtioDevices(tree: DeviceTree, context: DeviceContext): VirtioDevice[] {
  const devices: VirtioDevice[] = tree.disks.map(
    ({ id, ...disk }) => new VirtioBlk(context, { id, disk, aio: tree.blockEngine }),
  );
  if (tree.ports.length > 0) devices.push(new VirtioConsole(context, { ports: tree.ports }));
  if (tree.rng) devices.push(new VirtioRng(context));
  return devices;
}

/** Another thread's view: the same devices over the owner's state and descriptors. */
export function attachDevices(view: MachineView, request: RequestMachine): Devices & { ram: GuestMemory } {
  const ram = GuestMemory.attach(view.ram);
  const context: DeviceContext = {
    arena: new StateArena(view.state),
    ram,
    vm: Vm.borrow(view.vmFd),
    eventfds: new EventfdReplay(view.eventfds),
    request,
    isOwner: false,
  };
  return { ...buildDevices(view.tree, context), ram };
}

/** Moves the data of all virtio devices until the control asks to stop; for the I/O thread. */
export function runIo(devices: Devices & { ram: GuestMemory }, log: (message: string) => void): void {
  using loop = new IoLoop(devices.virtio, devices.ram, devices.io, (device, reason) =>
    log(`${device}: ${reason}`),
  );
  loop.run();
}
