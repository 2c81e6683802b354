/**
 * The values with the lowest keys, at most `limit` of them, one of each key: with hashes as keys a
 * random sample that does not depend on the order in which values come, in bounded memory.
 */
export class LowestSample<T> {
  private entries: { key: string; value: T }[] = [];
  private highest: string | null = null;
  /** Values whose key was there already, as far as they were kept apart. */
  duplicates = 0;

  constructor(private readonly limit: number) {}

  add(key: string, value: T): void {
    if (this.limit === 0 || (this.highest !== null && key > this.highest)) return;
    this.entries.push({ key, value });
    if (this.entries.length >= 2 * this.limit + 64) this.settle();
  }

  /** In the order of their keys. */
  values(): T[] {
    this.settle();
    return this.entries.map(({ value }) => value);
  }

  /** Sorts, drops what has a key twice (the first that came stays) and what is beyond the limit. */
  private settle(): void {
    const sorted = this.entries.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
    const unique = sorted.filter(({ key }, i) => i === 0 || key !== sorted[i - 1]!.key);
    this.duplicates += sorted.length - unique.length;
    this.entries = unique.slice(0, this.limit);
    if (this.entries.length === this.limit) this.highest = this.entries.at(-1)?.key ?? null;
  }
}
