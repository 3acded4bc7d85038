/**
 * The container engine for programs: what `tvmm run` and its siblings do, as objects. Everything it knows is on disk, so any number of
 * processes may use one engine, the command line among them, and nothing needs closing. Loads what an operation needs when it is first
 * asked for.
 */
import type { CreateRequest } from '../engine/create.js';
import { type EngineEvent, pastEvents } from '../engine/events.js';
import { type OpenOptions, openEngine } from '../engine/open.js';
import { type ContainerOptions, NO_OPTIONS } from '../engine/options/options.js';
import type { ContainerRecord } from '../engine/record.js';
import type { LoadOptions } from '../image/load.js';
import type { PullOptions } from '../image/pull.js';
import type { ImageStore, StoredImage } from '../image/store.js';
import { Container } from './container.js';

/** What a container is made of: `image` or `rootfs`, and docker's flags by their long names; all else is as secure as without flags. */
export interface ContainerRequest extends Partial<ContainerOptions>, Pick<CreateRequest, 'pull' | 'report'> {
  /** Two random words by default. */
  readonly name?: string;
}

/**
 * @example
 * ```ts
 * const engine = Engine.open();
 * await using container = await engine.create({ rootfs: '/srv/busybox', command: ['sh', '-c', 'echo hello'] });
 * await container.start();
 * const status = await container.wait();
 * ```
 */
export class Engine {
  readonly #context: ReturnType<typeof openEngine>;

  private constructor(options: OpenOptions) {
    this.#context = openEngine(options);
  }

  /**
   * Opens the engine of a machine, or another beside it.
   *
   * @param options.root what stays over a reboot: containers, images (TVMM_ROOT, else /var/lib/tvmm)
   * @param options.run what need not: states, networks (TVMM_RUN, else /run/tvmm)
   * @param options.warn is told what went wrong without being an error
   */
  static open(options: OpenOptions = {}): Engine {
    return new Engine(options);
  }

  /**
   * Creates a container; {@link Container.start} starts it. Its options are checked here, and nothing is left where they are refused.
   *
   * @throws OptionError, ContainerNameError, and the image store's errors
   */
  async create({ name, pull, report, ...options }: ContainerRequest): Promise<Container> {
    const { createContainer } = await import('../engine/create.js');
    const record = await createContainer(this.#context, {
      name,
      options: { ...NO_OPTIONS, ...options },
      ...(pull === undefined ? {} : { pull }),
      ...(report === undefined ? {} : { report }),
    });
    return new Container(this.#context, record.id);
  }

  /** Creates and starts. @throws StartError; the container is removed then */
  async run(request: ContainerRequest): Promise<Container> {
    const container = await this.create(request);
    try {
      await container.start();
      return container;
    } catch (error) {
      await container.remove({ force: true });
      throw error;
    }
  }

  /** A container by its name, its id, or the first digits of it. @throws ContainerNotFoundError */
  container(word: string): Container {
    return new Container(this.#context, this.#context.store.resolve(word));
  }

  /** All containers as they are now, the youngest first. */
  async containers(): Promise<ContainerRecord[]> {
    const { current } = await import('../engine/wait.js');
    const records = await Promise.all(this.#context.store.ids().map((id) => current(this.#context, id)));
    return records
      .filter((record) => record !== undefined)
      .sort((a, b) => b.created.localeCompare(a.created));
  }

  /** What has happened to containers, as far back as the journal goes, the oldest first. */
  events(): EngineEvent[] {
    return pastEvents(this.#context.paths);
  }

  /** The image store. @throws ImageStoreError */
  async images(): Promise<ImageStore> {
    const { ImageStore } = await import('../image/store.js');
    return ImageStore.open(this.#context.paths.root);
  }

  /** Fetches an image from its registry: `debian:12`. @throws RegistryError, CredentialError, ImageNameError, … */
  async pull(name: string, options?: PullOptions): Promise<StoredImage> {
    const { pullImage } = await import('../image/pull.js');
    return pullImage(await this.images(), name, options);
  }

  /** Takes the images of a docker archive or an OCI layout, packed or a folder. @throws ImageFormatError, LayerError, … */
  async load(path: string, options?: LoadOptions): Promise<StoredImage[]> {
    const { loadImages } = await import('../image/load.js');
    return loadImages(await this.images(), path, options);
  }
}
