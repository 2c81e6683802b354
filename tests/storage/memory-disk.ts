/**
 * A disk in memory that forgets, at a crash, whatever was not synced: content after the last sync
 * of a file, and names (of files and folders) whose folder was not synced since. `fail_at` stops it
 * at one step.
 */
import path from "node:path";
import { MagnetError } from "../../src/core/errors.ts";
import type { Disk } from "../../src/storage/disk.ts";

interface Node {
  /** Null for a folder. */
  bytes: Uint8Array | null;
  synced: number;
}

export class MemoryDisk implements Disk {
  #now = new Map<string, Node>();
  #durable = new Map<string, Node>();
  /** Operations so far. */
  steps = 0;
  /** This step and all after it fail with `error`. */
  fail_at = Number.POSITIVE_INFINITY;
  error: Error = new Error("the machine is off");
  /** Whether steps after `fail_at` work again (a full disk) or not (a crash). */
  fails_once = false;
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
    this.#now.set(root, { bytes: null, synced: 0 });
    this.#durable.set(root, this.#now.get(root)!);
  }

  /** Loses everything that was not made durable, and works again. */
  crash(): void {
    this.fail_at = Number.POSITIVE_INFINITY;
    const isWhole = (file: string): boolean =>
      file === this.#root || (this.#durable.has(file) && isWhole(path.dirname(file)));
    const left = [...this.#durable].filter(([file]) => isWhole(file));
    this.#now = new Map(
      left.map(([file, { bytes, synced }]) => [
        file,
        { bytes: bytes?.slice(0, synced) ?? null, synced },
      ]),
    );
    this.#durable = new Map(this.#now);
  }

  /** Changes one byte of a file behind the store's back. */
  damage(file: string, at: number): void {
    this.#file(file).bytes![at]! ^= 1;
  }
  truncate(file: string, length: number): void {
    const node = this.#file(file);
    node.bytes = node.bytes!.slice(0, length);
  }
  files(): string[] {
    return [...this.#now].filter(([, node]) => node.bytes).map(([file]) => file);
  }

  async makeFolder(folder: string) {
    this.#step();
    for (let at = folder; !this.#now.has(at); at = path.dirname(at))
      this.#now.set(at, { bytes: null, synced: 0 });
  }
  async list(folder: string) {
    this.#step();
    const inside = [...this.#now.keys()].filter((f) => path.dirname(f) === folder && f !== folder);
    return inside.map((f) => path.basename(f)).sort();
  }
  async sizeOf(file: string) {
    this.#step();
    return this.#now.get(file)?.bytes?.length ?? null;
  }
  async create(file: string) {
    this.#step();
    if (this.#now.has(file) || !this.#now.has(path.dirname(file)))
      throw new Error(`EEXIST ${file}`);
    const node: Node = { bytes: new Uint8Array(0), synced: 0 };
    this.#now.set(file, node);
    return {
      write: async (bytes: Uint8Array) => {
        this.#step();
        node.bytes = Uint8Array.from([...node.bytes!, ...bytes]);
      },
      sync: async () => {
        this.#step();
        node.synced = node.bytes!.length;
      },
      close: async () => this.#step(),
    };
  }
  async read(file: string, offset: number, length: number) {
    this.#step();
    const bytes = this.#file(file).bytes!.slice(offset, offset + length);
    if (bytes.length < length) throw new MagnetError("FILE_CUT_OFF", "short");
    return bytes;
  }
  async rename(from: string, to: string) {
    this.#step();
    this.#now.set(to, this.#file(from));
    this.#now.delete(from);
  }
  async remove(file: string) {
    this.#step();
    this.#now.delete(file);
  }
  async syncFolder(folder: string) {
    this.#step();
    for (const file of this.#durable.keys())
      if (path.dirname(file) === folder && !this.#now.has(file)) this.#durable.delete(file);
    for (const [file, node] of this.#now)
      if (path.dirname(file) === folder) this.#durable.set(file, node);
  }

  #file(file: string): Node {
    const node = this.#now.get(file);
    if (!node?.bytes) throw Object.assign(new Error(`no file ${file}`), { code: "ENOENT" });
    return node;
  }
  #step(): void {
    const at = ++this.steps;
    if (at === this.fail_at || (at > this.fail_at && !this.fails_once)) throw this.error;
  }
}
