/** What must be undone, in reverse order: an owner pushes each resource as it gets it, and runs the list once at its end. */

export class Cleanup implements AsyncDisposable {
  #actions: (() => void | Promise<void>)[] = [];

  /** Adds a disposable and passes it through. */
  use<T extends Disposable>(resource: T): T {
    this.#actions.push(() => resource[Symbol.dispose]());
    return resource;
  }

  defer(action: () => void | Promise<void>): void {
    this.#actions.push(action);
  }

  /** Runs every action, newest first; an action that fails does not keep the others from running. @throws the first failure */
  async run(): Promise<void> {
    const actions = this.#actions.reverse();
    this.#actions = [];
    const failures: unknown[] = [];
    for (const action of actions) {
      try {
        await action();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.run();
  }
}
