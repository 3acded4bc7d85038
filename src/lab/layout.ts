/**
 * The names that L0 and L1 must agree on: 9p mount tags, virtio-serial ports, paths in L1, and the words of the control
 * port. One table, used by the QEMU command line and by the scripts that run in L1.
 */

/** L1's own folder for everything of the lab; on a tmpfs, since the host's /run means nothing in L1. */
export const LAB_FOLDER = '/run/tvmm-lab';
/** Where the exchange share stands in L1. */
export const EXCHANGE_IN_LAB = `${LAB_FOLDER}/exchange`;
/** The folder of the exchange share that carries jobs. */
export const JOBS_FOLDER = '.jobs';
/** The job number of a streaming command: the only job of its L1. */
export const STREAM_JOB = 0;

/** 9p mount tags (at most 31 bytes). */
export const MOUNT_TAG = { root: 'hostroot', exchange: 'exchange' } as const;

/**
 * Ports of the one virtio-serial device, by their number (virtio specification 5.3): `/dev/vport*p<number>`. Port 0 can
 * only be a console.
 */
export const PORT = { control: 1, stdin: 2, stdout: 3, stderr: 4 } as const;

/**
 * What the agent says on the control port, one line each: `parked` (L1 is up to where nothing of the host is in it yet),
 * `up` (jobs may come), `done JOB STATUS`.
 */
export const SAYS = { parked: 'parked', up: 'up', done: 'done' } as const;

/**
 * What the agent is told, one line each: `go EPOCH_SECONDS`, `run JOB`, `kill JOB`, `stream pipe|tty MARK ROWS COLUMNS`, `size ROWS COLUMNS`.
 */
export const TOLD = { go: 'go', run: 'run', kill: 'kill', stream: 'stream', size: 'size' } as const;
