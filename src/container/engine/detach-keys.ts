/** What is typed to let go of a container's terminal: Ctrl-P Ctrl-Q, or other keys (`--detach-keys`). Pure. */

/** Ctrl-P, Ctrl-Q: docker's. */
const DETACH_KEYS = Uint8Array.of(16, 17);

/** Finds the detach keys in what is typed, wherever the input was cut. */
export class DetachKeys {
  #matched = 0;

  constructor(private readonly keys: Uint8Array = DETACH_KEYS) {}

  /** @returns the bytes that go on to the container, and whether the keys are complete; what follows them is dropped */
  take(bytes: Uint8Array): { pass: Uint8Array; detach: boolean } {
    const pass: number[] = [];
    for (const byte of bytes) {
      if (byte === this.keys[this.#matched]) {
        this.#matched++;
        if (this.#matched === this.keys.length) return { pass: Uint8Array.from(pass), detach: true };
        continue;
      }
      pass.push(...this.keys.subarray(0, this.#matched));
      this.#matched = byte === this.keys[0] ? 1 : 0;
      if (this.#matched === 0) pass.push(byte);
    }
    return { pass: Uint8Array.from(pass), detach: false };
  }
}

/** `ctrl-p,ctrl-q`: letters and `ctrl-` with one of `a` to `z` or `@[\\]^_`, docker's way; undefined for anything else. */
export function parseDetachKeys(text: string): Uint8Array | undefined {
  const keys = text.split(',').map((word) => {
    const control = /^ctrl-([a-z@[\\\]^_])$/i.exec(word)?.[1];
    if (control !== undefined) return control.toUpperCase().charCodeAt(0) & 0x1f;
    return /^[\x21-\x7e]$/.test(word) ? word.charCodeAt(0) : undefined;
  });
  const found = keys.filter((key) => key !== undefined);
  return found.length === keys.length ? Uint8Array.from(found) : undefined;
}
