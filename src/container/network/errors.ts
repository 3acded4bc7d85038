/** What can fail with networks: one class an operation, so that the engine can tell a wrong configuration from a plugin that failed. */
import { TvmmError } from '../../sys/errors.js';

/** A CNI configuration that cannot be used: the file and the place in it are in the message. */
export class CniConfigError extends TvmmError {}

/** A CNI plugin that is missing, failed, did not end or answered nonsense. */
export class CniPluginError extends TvmmError {}

/** A result that was stored and cannot be used any more. */
export class CniCacheError extends TvmmError {}

/** `-p` that says no port, or a port that is taken. */
export class PortError extends TvmmError {}

/** `--network`, `--dns`, `--add-host` and the like with a value that means nothing. */
export class NetworkOptionError extends TvmmError {}

/** A network that cannot be made or changed. */
export class NetworkError extends TvmmError {}

/** A device of linux.netDevices that cannot be moved. */
export class NetDeviceError extends TvmmError {}
