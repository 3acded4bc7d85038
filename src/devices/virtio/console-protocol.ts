/**
 * virtio-console's numbers and control messages (Virtual I/O Device 1.2, section 5.3).
 */

/** Feature bits (section 5.3.3). */
export const VIRTIO_CONSOLE_F = { SIZE: 0, MULTIPORT: 1 } as const;

/** struct virtio_console_config (section 5.3.4): cols and rows (le16), max_nr_ports (le32), emerg_wr (le32). */
export const CONSOLE_CONFIG = { cols: 0, rows: 2, max_nr_ports: 4, emerg_wr: 8, size: 12 } as const;

/** Control events (section 5.3.6.2), by their names in <linux/virtio_console.h>. */
export const VIRTIO_CONSOLE = {
  DEVICE_READY: 0,
  PORT_ADD: 1,
  PORT_REMOVE: 2,
  PORT_READY: 3,
  CONSOLE_PORT: 4,
  RESIZE: 5,
  PORT_OPEN: 6,
  PORT_NAME: 7,
} as const;

/** struct virtio_console_control: id (le32), event (le16), value (le16). */
export const CONTROL_SIZE = 8;

/** Section 5.3.2: port 0 has queues 0 and 1, the control queues are 2 and 3, port N has 2N + 2 and 2N + 3. */
export const CONTROL_RECEIVEQ = 2;
export const CONTROL_TRANSMITQ = 3;

/** The queue on which a port receives (the device writes). */
export function receiveQueue(port: number): number {
  return port === 0 ? 0 : 2 * port + 2;
}

/** The queue on which a port transmits (the device reads). */
export function transmitQueue(port: number): number {
  return receiveQueue(port) + 1;
}

/** The port of a queue; undefined for the control queues. */
export function portOfQueue(queue: number): number | undefined {
  if (queue < CONTROL_RECEIVEQ) return 0;
  return queue <= CONTROL_TRANSMITQ ? undefined : (queue - 2) >> 1;
}

/** A control message, with what follows it. */
export function controlMessage(port: number, event: number, value: number, payload?: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(CONTROL_SIZE + (payload?.length ?? 0));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, port, true);
  view.setUint16(4, event, true);
  view.setUint16(6, value, true);
  if (payload !== undefined) bytes.set(payload, CONTROL_SIZE);
  return bytes;
}

/**
 * RESIZE's payload. The specification says cols, rows; Linux has read rows, cols since before there was a specification, and keeps to it.
 * What matters is what guests read: rows first.
 */
export function resizePayload(cols: number, rows: number): Uint8Array {
  return new Uint8Array(Uint16Array.of(rows, cols).buffer);
}
