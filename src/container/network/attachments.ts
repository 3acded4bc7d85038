/**
 * Attaching containers to networks so that it can always be undone: the record comes first, a failed ADD is followed by DEL (CNI
 * specification 1.1.0, section 3 "Lifecycle & Ordering"), and a record goes only when its DEL has succeeded. Locks keep GC apart from
 * ADD and DEL; operations on one container are the caller's to order.
 */
import { join } from 'node:path';
import { FileLock } from '../../sys/file-lock.js';
import { AttachmentStore, type StoredAttachment } from './attachment-store.js';
import type { Attachment, Cni } from './cni.js';
import type { NetworkConfig } from './cni-config.js';
import type { CniResult } from './cni-result.js';
import { CniCacheError, CniPluginError } from './errors.js';

/** A GC may wait for plugins, which have a minute each. */
const LOCK_TIMEOUT_MS = 120_000;

export class Attachments {
  readonly cni: Cni;
  readonly store: AttachmentStore;
  readonly #lockFile: string;

  constructor(cni: Cni, folder: string) {
    this.cni = cni;
    this.store = new AttachmentStore(join(folder, 'attachments'));
    this.#lockFile = join(folder, 'lock');
  }

  /**
   * Writes down that a container's interface is being attached: from here on it can be undone, whatever happens.
   *
   * @throws CniCacheError when the interface is there already
   */
  async begin(config: NetworkConfig, attachment: Attachment): Promise<StoredAttachment> {
    const version = await this.cni.negotiate(config);
    if (this.store.of(attachment.containerId).some((one) => one.attachment.ifname === attachment.ifname)) {
      throw new CniCacheError(
        `container ${attachment.containerId} already has an interface ${attachment.ifname}`,
        {
          code: 'CNI_ATTACHED',
          hint: 'detach it first, or choose another name for the interface',
        },
      );
    }
    const begun: StoredAttachment = { config, version, attachment, result: undefined, complete: false };
    this.store.write(begun);
    return begun;
  }

  /**
   * Attaches what was begun, whole or not at all. The caller holds the lock, `shared`.
   *
   * @throws CniPluginError; where undoing fails too, the record stays for a later DEL
   */
  async finish(begun: StoredAttachment): Promise<CniResult> {
    let last = begun;
    try {
      const result = await this.cni.add(begun.config, begun.version, begun.attachment, (one) => {
        last = { ...begun, result: one };
        this.store.write(last);
      });
      this.store.write({ ...begun, result, complete: true });
      return result;
    } catch (error) {
      await this.#undo(last, error);
      throw error;
    }
  }

  /** Detaches every interface of a container, the last first. Harmless when there is none. @throws CniPluginError */
  async detach(containerId: string): Promise<void> {
    using _lock = await this.lock('shared');
    for (const stored of this.store.of(containerId).reverse()) await this.remove(stored);
  }

  /**
   * CHECK of every interface of a container.
   *
   * @param only leaves out plugins whose CHECK is known to be wrong
   * @throws CniPluginError, CniCacheError
   */
  async check(
    containerId: string,
    only: (config: NetworkConfig) => NetworkConfig = (config) => config,
  ): Promise<void> {
    using _lock = await this.lock('shared');
    for (const { config, version, attachment, result, complete } of this.store.of(containerId)) {
      if (result === undefined || !complete) {
        throw new CniCacheError(`container ${containerId} was never wholly attached to ${config.name}`, {
          code: 'CNI_NOT_ATTACHED',
          hint: 'remove the container and create it again',
        });
      }
      await this.cni.check(only(config), version, attachment, result.raw);
    }
  }

  /** DEL of one record; the record goes when it has succeeded. The caller holds the lock. */
  async remove(stored: StoredAttachment): Promise<void> {
    const { config, version, attachment, result } = stored;
    await this.cni.del(config, version, attachment, result?.raw);
    this.store.remove(config.name, attachment.containerId, attachment.ifname);
  }

  /** `shared` for ADD and DEL, `exclusive` for GC. */
  lock(kind: 'shared' | 'exclusive', timeoutMs = LOCK_TIMEOUT_MS): Promise<FileLock> {
    return FileLock.acquire(this.#lockFile, kind, timeoutMs);
  }

  async #undo(begun: StoredAttachment, failure: unknown): Promise<void> {
    try {
      await this.remove(begun);
    } catch (error) {
      throw new CniPluginError(
        `${failure instanceof Error ? failure.message : String(failure)}; undoing it failed as well: ${error instanceof Error ? error.message : String(error)}`,
        {
          code: 'CNI_UNDO_FAILED',
          hint: 'the attachment is on record: removing the container tries again',
          cause: failure,
        },
      );
    }
  }
}
