/**
 * Power control of a hardware-reduced ACPI platform (ACPI 6.5, sections 4.8.3.6 and 4.8.3.7): SLEEP_CONTROL_REG, SLEEP_STATUS_REG and
 * RESET_REG, as the FADT declares them. S5 powers off; no other sleep state exists.
 */
import type { DeviceContext } from './context.js';
import type { AccessSize, BusDevice } from './device.js';
import type { StateWindow } from './state.js';

/** The three registers' ports, a byte each. */
export const ACPI_PM_PORT = 0x600;
export const ACPI_PM_PORTS = 3;
export const SLEEP_CONTROL_PORT = ACPI_PM_PORT;
export const SLEEP_STATUS_PORT = ACPI_PM_PORT + 1;
export const RESET_PORT = ACPI_PM_PORT + 2;
/** The FADT's RESET_VALUE. */
export const RESET_VALUE = 1;
/** SLP_TYP of the DSDT's \_S5. */
export const SLP_TYP_S5 = 5;

const SLP_EN = 0x20;
const SLP_TYP_SHIFT = 2;
const SLP_TYP_MASK = 7;

export class AcpiPm implements BusDevice {
  readonly name = 'ACPI power control';
  readonly state: StateWindow;

  constructor(private readonly context: DeviceContext) {
    this.state = context.arena.claim(this.name, 1);
  }

  /** SLP_EN is write-only and WAK_STS never sets: nothing sleeps and wakes. */
  read(_offset: number, _size: AccessSize): number {
    return 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) this.#writeByte(ACPI_PM_PORT + offset + i, (value >>> (8 * i)) & 0xff);
  }

  #writeByte(port: number, value: number): void {
    if (port === SLEEP_CONTROL_PORT) {
      const type = (value >> SLP_TYP_SHIFT) & SLP_TYP_MASK;
      if ((value & SLP_EN) !== 0 && type === SLP_TYP_S5) this.context.request('poweroff');
    } else if (port === RESET_PORT && value === RESET_VALUE) {
      this.context.request('reset');
    }
  }
}
