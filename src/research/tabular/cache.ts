/**
 * Least-recently-used cache by content key, limited by bytes: member predictions and binned columns
 * of a worker. What is thrown out is made again when asked for, with the same bytes.
 */
export class ByteCache<V> {
  private readonly entries = new Map<string, { value: V; bytes: number }>();
  private held = 0;
  private readonly bytes_max: number;
  private readonly release: ((value: V) => void) | undefined;

  constructor(bytes_max: number, release?: (value: V) => void) {
    this.bytes_max = bytes_max;
    this.release = release;
  }

  get size_bytes(): number {
    return this.held;
  }

  get(key: string): V | undefined {
    const found = this.entries.get(key);
    if (found === undefined) return undefined;
    this.entries.delete(key); // to the end: the order of the map is the order of use
    this.entries.set(key, found);
    return found.value;
  }

  /** Keeps the value; the oldest others go. A value above the limit alone is kept until the next. */
  set(key: string, value: V, bytes: number): void {
    this.remove(key);
    this.entries.set(key, { value, bytes });
    this.held += bytes;
    for (const old of this.entries.keys()) {
      if (this.held <= this.bytes_max || old === key) break;
      this.remove(old);
    }
  }

  clear(): void {
    for (const key of [...this.entries.keys()]) this.remove(key);
  }

  private remove(key: string): void {
    const found = this.entries.get(key);
    if (found === undefined) return;
    this.entries.delete(key);
    this.held -= found.bytes;
    this.release?.(found.value);
  }
}
