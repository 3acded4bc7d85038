/** Where the time before the guest's first instruction goes: named marks in milliseconds since the process started. */

export interface TimelineMark {
  /** What had just been finished. */
  name: string;
  /** Milliseconds since the process started. */
  at: number;
}

export class Timeline {
  readonly marks: TimelineMark[] = [];

  /** Records that `name` is done now. */
  mark(name: string): void {
    this.marks.push({ name, at: performance.now() });
  }

  /** Records a moment that another thread measured. @param epochMs milliseconds since the Unix epoch */
  markAt(name: string, epochMs: number): void {
    this.marks.push({ name, at: epochMs - performance.timeOrigin });
  }

  /** Milliseconds each step took, in order. */
  steps(): { name: string; ms: number }[] {
    // What another thread measured may lie between two marks of this one.
    const marks = [...this.marks].sort((one, other) => one.at - other.at);
    return marks.map(({ name, at }, i) => ({ name, ms: at - (marks[i - 1]?.at ?? 0) }));
  }
}
