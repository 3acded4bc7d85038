/**
 * struct virtio_pci_common_cfg (Virtual I/O Device 1.2, section 4.1.4.3) as a table. Fields are accessed in their own width, 64-bit ones as
 * two halves (section 4.1.3.1); any other access reads 0 and writes nothing.
 */
import type { AccessSize } from '../device.js';
import { QREG, REG, type VirtioDevice } from './device.js';

/** Up to and including queue_reset. */
export const COMMON_SIZE = 0x3c;

/** Turns a vector number that the function does not have into "no vector". */
type VectorOf = (value: number) => number;

interface Field {
  readonly name: string;
  readonly size: AccessSize;
  readonly read: (device: VirtioDevice) => number;
  readonly write?: (device: VirtioDevice, value: number, vectorOf: VectorOf) => void;
}

function common(name: string, size: AccessSize, cell: number): Field {
  return {
    name,
    size,
    read: (device) => device.state.u32[cell],
    write: (device, value) => {
      device.state.u32[cell] = value;
    },
  };
}

function readQueue(device: VirtioDevice, cell: number): number {
  const queue = device.selectedQueueCell();
  return queue === undefined ? 0 : device.state.u32[queue + cell];
}

/** A register of the selected queue, written while the queue is not in use. */
function queueField(name: string, size: AccessSize, cell: number): Field {
  return {
    name,
    size,
    read: (device) => readQueue(device, cell),
    write: (device, value) => {
      const queue = device.selectedQueueCell();
      if (queue !== undefined && device.queueWritable(queue)) device.state.u32[queue + cell] = value;
    },
  };
}

/** Only 1 may be written: a queue stops with its device (section 4.1.4.3.2). */
function enable(device: VirtioDevice, value: number): void {
  const queue = device.selectedQueueCell();
  if (value === 1 && queue !== undefined && !device.active) device.state.u32[queue + QREG.ENABLE] = 1;
}

function setQueueVector(device: VirtioDevice, value: number, vectorOf: VectorOf): void {
  const queue = device.selectedQueueCell();
  if (queue !== undefined) device.state.u32[queue + QREG.VECTOR] = vectorOf(value);
}

const FIELDS: ReadonlyMap<number, Field> = new Map<number, Field>([
  [0x00, common('device_feature_select', 4, REG.DEVICE_FEATURES_SELECT)],
  [
    0x04,
    {
      name: 'device_feature',
      size: 4,
      read: (device) => device.offeredFeatures(device.state.u32[REG.DEVICE_FEATURES_SELECT]),
    },
  ],
  [0x08, common('driver_feature_select', 4, REG.DRIVER_FEATURES_SELECT)],
  [
    0x0c,
    {
      name: 'driver_feature',
      size: 4,
      read: (device) => device.acknowledgedFeatures(device.state.u32[REG.DRIVER_FEATURES_SELECT]),
      write: (device, value) =>
        device.acknowledgeFeatures(device.state.u32[REG.DRIVER_FEATURES_SELECT], value),
    },
  ],
  [
    0x10,
    {
      name: 'config_msix_vector',
      size: 2,
      read: (device) => device.state.u32[REG.CONFIG_VECTOR],
      write: (device, value, vectorOf) => {
        device.state.u32[REG.CONFIG_VECTOR] = vectorOf(value);
      },
    },
  ],
  [0x12, { name: 'num_queues', size: 2, read: (device) => device.queueSizes.length }],
  [
    0x14,
    {
      name: 'device_status',
      size: 1,
      read: (device) => device.status,
      write: (device, value) => device.writeStatus(value),
    },
  ],
  [
    0x15,
    {
      name: 'config_generation',
      size: 1,
      read: (device) => device.state.u32[REG.CONFIG_GENERATION] & 0xff,
    },
  ],
  [0x16, common('queue_select', 2, REG.QUEUE_SELECT)],
  [0x18, queueField('queue_size', 2, QREG.SIZE)],
  [
    0x1a,
    {
      name: 'queue_msix_vector',
      size: 2,
      read: (device) => readQueue(device, QREG.VECTOR),
      write: setQueueVector,
    },
  ],
  [0x1c, { name: 'queue_enable', size: 2, read: (device) => readQueue(device, QREG.ENABLE), write: enable }],
  [0x1e, { name: 'queue_notify_off', size: 2, read: (device) => device.state.u32[REG.QUEUE_SELECT] }],
  [0x20, queueField('queue_desc low', 4, QREG.DESC_LOW)],
  [0x24, queueField('queue_desc high', 4, QREG.DESC_HIGH)],
  [0x28, queueField('queue_driver low', 4, QREG.DRIVER_LOW)],
  [0x2c, queueField('queue_driver high', 4, QREG.DRIVER_HIGH)],
  [0x30, queueField('queue_device low', 4, QREG.DEVICE_LOW)],
  [0x34, queueField('queue_device high', 4, QREG.DEVICE_HIGH)],
  // VIRTIO_F_NOTIF_CONFIG_DATA and VIRTIO_F_RING_RESET are not offered.
  [0x38, { name: 'queue_notify_data', size: 2, read: () => 0 }],
  [0x3a, { name: 'queue_reset', size: 2, read: () => 0 }],
]);

export function readCommon(device: VirtioDevice, offset: number, size: AccessSize): number {
  const field = FIELDS.get(offset);
  return field?.size === size ? field.read(device) : 0;
}

export function writeCommon(
  device: VirtioDevice,
  offset: number,
  size: AccessSize,
  value: number,
  vectorOf: VectorOf,
): void {
  const field = FIELDS.get(offset);
  if (field?.size === size) field.write?.(device, value, vectorOf);
}
