/**
 * What the machine does about an exit. A free function over the buses, so that it is tested without KVM; allocation-free for
 * IO and MMIO, which are the hot exits.
 */
import type { Bus } from '../devices/bus.js';
import type { AccessSize } from '../devices/device.js';
import { KVM_EXIT } from '../kvm/ioctl.js';
import { EXIT_UNION, ExitMsr, RunView } from './exit.js';

/** What the run loop does next. */
export enum Outcome {
  /** Enter the guest again. */
  Continue = 0,
  /** HLT that KVM did not keep to itself: nothing will wake this vCPU. */
  Halted = 1,
  /** Triple fault. */
  Shutdown = 2,
  /** The guest asked for power-off, reset or reported a crash through KVM. */
  SystemEvent = 3,
  /** This vCPU cannot go on: decode the exit for the reason. */
  Fatal = 4,
  /** Single step or breakpoint. */
  Debug = 5,
}

/** The address spaces that exits reach. */
export interface Buses {
  readonly pio: Bus;
  readonly mmio: Bus;
}

const IO_OUT = 1;
const MMIO_DATA_WORD = RunView.MMIO_DATA / 4;

function loadLE(view: RunView, at: number, size: AccessSize): number {
  if (size === 1) return view.u8[at];
  return size === 2 ? view.data.getUint16(at, true) : view.data.getUint32(at, true);
}

function storeLE(view: RunView, at: number, size: AccessSize, value: number): void {
  if (size === 1) view.u8[at] = value;
  else if (size === 2) view.data.setUint16(at, value, true);
  else view.data.setUint32(at, value, true);
}

/** Port I/O; string and repeated forms come as `count` items behind each other. */
function handleIo(view: RunView, pio: Bus): void {
  const word = view.ioWord;
  const size = ((word >>> 8) & 0xff) as AccessSize;
  const port = word >>> 16;
  const end = view.ioDataOffset + view.ioCount * size;
  if ((word & 0xff) === IO_OUT) {
    for (let at = view.ioDataOffset; at < end; at += size) pio.write(port, size, loadLE(view, at, size));
  } else {
    for (let at = view.ioDataOffset; at < end; at += size) storeLE(view, at, size, pio.read(port, size));
  }
}

/** MMIO of 1 to 8 bytes; what is wider than 4 or odd is done in parts, lowest address first. */
function handleMmio(view: RunView, mmio: Bus): void {
  const isWrite = view.mmioIsWrite;
  let address = view.mmioAddress;
  let rest = Math.min(view.mmioLength, 8);
  // What nearly every register access is.
  if (rest === 4) {
    if (isWrite) mmio.write(address, 4, view.u32[MMIO_DATA_WORD]);
    else view.u32[MMIO_DATA_WORD] = mmio.read(address, 4);
    return;
  }
  let at = RunView.MMIO_DATA;
  while (rest > 0) {
    const size: AccessSize = rest >= 4 ? 4 : rest >= 2 ? 2 : 1;
    if (isWrite) mmio.write(address, size, loadLE(view, at, size));
    else storeLE(view, at, size, mmio.read(address, size));
    address += size;
    at += size;
    rest -= size;
  }
}

/** Handles the exit that `view` shows. */
export function handleExit(view: RunView, buses: Buses): Outcome {
  switch (view.reason) {
    case KVM_EXIT.IO:
      handleIo(view, buses.pio);
      return Outcome.Continue;
    case KVM_EXIT.MMIO:
      handleMmio(view, buses.mmio);
      return Outcome.Continue;
    case KVM_EXIT.INTR:
    case KVM_EXIT.IRQ_WINDOW_OPEN:
    case KVM_EXIT.IOAPIC_EOI:
      return Outcome.Continue;
    case KVM_EXIT.X86_RDMSR:
    case KVM_EXIT.X86_WRMSR:
      // Unknown MSR: the guest gets #GP, as on hardware.
      view.u8[EXIT_UNION + ExitMsr.offsets.error] = 1;
      return Outcome.Continue;
    case KVM_EXIT.HYPERCALL:
      // No hypercall is offered: -KVM_ENOSYS (1000).
      view.data.setBigInt64(EXIT_UNION + 56, -1000n, true);
      return Outcome.Continue;
    case KVM_EXIT.HLT:
      return Outcome.Halted;
    case KVM_EXIT.SHUTDOWN:
      return Outcome.Shutdown;
    case KVM_EXIT.SYSTEM_EVENT:
      return Outcome.SystemEvent;
    case KVM_EXIT.DEBUG:
      return Outcome.Debug;
    default:
      return Outcome.Fatal;
  }
}
