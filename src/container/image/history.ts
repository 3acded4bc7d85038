/** How an image came to be: the `history` of its configuration (image-spec, config.md), beside the sizes of the layers that its steps made. */
import { JsonView } from './json.js';
import { layerInfo } from './layers.js';
import { MAX_CONFIG } from './manifest.js';
import type { ImageStore, StoredImage } from './store.js';

export interface HistoryStep {
  readonly created: string | undefined;
  readonly createdBy: string;
  readonly comment: string;
  /** Of the layer's files; undefined where the step made none. */
  readonly bytes: number | undefined;
}

/** The last step first. Layers that no step speaks of are steps of their own. @throws ImageFormatError */
export async function historyOf(store: ImageStore, image: StoredImage): Promise<HistoryStep[]> {
  const what = `the configuration of ${image.name ?? image.id}`;
  const document = JsonView.parse(await store.readBlob(image.id, MAX_CONFIG), what);
  const sizes: (number | undefined)[] = [];
  for (const chainId of image.chain) sizes.push((await layerInfo(store, chainId))?.bytes);
  const steps = document.member('history').elements();
  const isEmpty = (step: JsonView) => step.member('empty_layer').value === true;
  // An image without a history may be the base of one with: the lowest layers are those that nothing is known of.
  const silent = Math.max(0, sizes.length - steps.filter((step) => !isEmpty(step)).length);
  const unknown = sizes
    .splice(0, silent)
    .map((bytes): HistoryStep => ({ created: undefined, createdBy: '', comment: '', bytes }));
  const known = steps.map(
    (step): HistoryStep => ({
      created: step.member('created').optionalString(),
      createdBy: step.member('created_by').optionalString() ?? '',
      comment: step.member('comment').optionalString() ?? '',
      bytes: isEmpty(step) ? undefined : (sizes.shift() ?? 0),
    }),
  );
  return [...unknown, ...known].reverse();
}
