/**
 * Tasks and data of research on this node's disk: blobs in a store of their own, with a quota, so
 * that no job can take the room of checkpoints. A task that came from a peer becomes a run's folder
 * whose document names only these copies: no path of a peer is ever opened.
 */
import fs from "node:fs";
import path from "node:path";
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import { type Clock, systemClock } from "../../core/clock.ts";
import { MagnetError } from "../../core/errors.ts";
import { requireFile } from "../../core/read-file.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import { parseTask } from "../../research/task/load.ts";
import type { RunTask } from "../../research/trials/open-run.ts";
import { TrialStore } from "../../research/trials/trial-store.ts";
import type { Json } from "../../research/types.ts";
import type { BlobStore } from "../../storage/blobs.ts";
import type { FetchBlob } from "../blob-fetcher.ts";
import type { PublishedBlobs } from "../published-blobs.ts";
import { DOCUMENT_BYTES_MAX, FILE_BYTES_MAX, FILES_MAX, TASKS_KEPT } from "./limits.ts";
import { FILE_NAME, type TaskRef } from "./research-job.ts";

export interface TaskFilesOptions {
  /** Of research on this node. */
  readonly folder: string;
  readonly blobs: BlobStore;
  readonly published: PublishedBlobs;
  readonly fetchBlob: FetchBlob;
  readonly clock?: Clock;
}

const taskKey = (task: TaskRef, task_hash: Hash): string =>
  sha256Hex(canonicalJson({ task, task_hash })).slice(0, 32);

export class TaskFiles {
  readonly #options: TaskFilesOptions;
  /** Folders by task, the one used last at the end. */
  readonly #ready = new Map<string, { task: TaskRef; folder: Promise<string> }>();

  constructor(options: TaskFilesOptions) {
    this.#options = options;
    // Folders of an earlier life are made anew: cheap, and certain to fit this version.
    fs.rmSync(path.join(options.folder, "tasks"), { recursive: true, force: true });
  }

  /** Puts a task of this machine's user where peers may fetch it. Throws BAD_TASK, disk errors. */
  async share({ file, document, seed }: RunTask): Promise<TaskRef> {
    const task = parseTask(document, file);
    if (task.data.length > FILES_MAX)
      throw new MagnetError("BAD_TASK", `${file} names more than ${FILES_MAX} files`);
    const files: TaskRef["files"] = [];
    for (const source of task.data) {
      requireFile(source);
      const name = path.basename(source);
      if (!FILE_NAME.test(name))
        throw new MagnetError("BAD_TASK", `${source}: nodes take no file of such a name`, {
          hint: "use letters, digits, spaces, . _ + - in the file's name",
        });
      const { hash, size_bytes } = await this.#put(Bun.file(source).stream());
      if (size_bytes > FILE_BYTES_MAX)
        throw new MagnetError("BAD_TASK", `${source} is larger than nodes take`);
      files.push({ name, hash, size_bytes });
    }
    // What of the document is not the trials' business stays here: a teacher's address, a budget.
    const { teacher: _t, budget: _b, ...rest } = document as { [key: string]: Json };
    const text = canonicalJson({ ...rest, data: files.map(({ name }) => name) });
    const stored = await this.#put(new TextEncoder().encode(text));
    if (stored.size_bytes > DOCUMENT_BYTES_MAX)
      throw new MagnetError("BAD_TASK", `${file} is larger than nodes take`);
    return { document: stored, files, seed };
  }

  async #put(content: Uint8Array | ReadableStream<Uint8Array>) {
    const { blobs, published } = this.#options;
    const stored = await blobs.put(content as Uint8Array);
    published.publish(stored.hash);
    return stored;
  }

  /**
   * The folder of a peer's task, from which workers open it: fetches what is not here. Throws
   * BLOB_UNAVAILABLE, DISK_LIMIT, BAD_TASK.
   */
  async folderOf(task: TaskRef, task_hash: Hash, source: PublicKey): Promise<string> {
    const key = taskKey(task, task_hash);
    const known = this.#ready.get(key);
    const entry = known ?? { task, folder: this.#make(key, task, task_hash, source) };
    this.#ready.delete(key);
    this.#ready.set(key, entry); // used last
    // What could not be made leaves nothing behind: no job fills the disk with what nobody uses.
    if (!known) entry.folder.catch(() => this.#drop(key, task)).catch(() => undefined);
    return entry.folder;
  }

  /** Makes room: the tasks not used for longest go, but for those in use. */
  async tidy(inUse: (folder: string) => boolean): Promise<void> {
    for (const [key, { task, folder }] of this.#ready) {
      if (this.#ready.size <= TASKS_KEPT) return;
      const place = await folder.catch(() => null);
      if (place === null || inUse(place)) continue;
      await this.#drop(key, task);
    }
  }

  /** Removes a task's folder and those of its blobs that neither another task nor a peer needs. */
  async #drop(key: string, task: TaskRef): Promise<void> {
    const { blobs, published } = this.#options;
    this.#ready.delete(key);
    fs.rmSync(this.#folderFor(key), { recursive: true, force: true });
    // Asked anew for each: another task may have come to need it meanwhile.
    const isKept = (hash: Hash): boolean =>
      published.size(hash) !== null ||
      [...this.#ready.values()].some((entry) => hashesOf(entry.task).includes(hash));
    for (const hash of hashesOf(task)) if (!isKept(hash)) await blobs.delete(hash);
  }

  #folderFor(key: string): string {
    return path.join(this.#options.folder, "tasks", key);
  }

  async #make(key: string, task: TaskRef, task_hash: Hash, source: PublicKey): Promise<string> {
    const { blobs, fetchBlob, clock = systemClock } = this.#options;
    for (const { hash, size_bytes } of [task.document, ...task.files]) {
      await fetchBlob(hash, [source], { size_bytes });
      await blobs.verify(hash);
    }
    const folder = this.#folderFor(key);
    const data = task.files.map(({ name, hash }, i) => {
      const place = path.join(folder, "data", String(i));
      fs.mkdirSync(place, { recursive: true, mode: 0o700 });
      fs.symlinkSync(path.resolve(blobs.pathOf(hash)), path.join(place, name));
      return path.join("data", String(i), name);
    });
    const file = path.join(folder, "task.json");
    const document = { ...readDocument(await blobs.get(task.document.hash)), data };
    parseTask(document, file, task.seed === null ? {} : { seed: task.seed });
    const store = TrialStore.openFolder(folder, clock);
    try {
      const run_task = { file, document, seed: task.seed } satisfies RunTask;
      store.begin({ task_hash, task: run_task, settings: {}, code_version: "" });
    } finally {
      store.close();
    }
    return folder;
  }
}

const hashesOf = ({ document, files }: TaskRef): Hash[] => [document, ...files].map((f) => f.hash);

function readDocument(bytes: Uint8Array): { [key: string]: Json } {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as { [key: string]: Json };
  } catch {
    // the same refusal as for another value
  }
  throw new MagnetError("BAD_TASK", "the task's document is not a JSON object");
}
