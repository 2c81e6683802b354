/**
 * Blobs between peers: pulled chunk by chunk with a few requests in flight (the puller sets the
 * pace, so memory stays bounded on both sides), written in order to `<file>.part`, resumed from
 * there after a lost peer or a restart, and given their name only when the SHA-256 of the whole is
 * right.
 */
import fs from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import { blobGet, CHUNK_MAX } from "./bulk-messages.ts";
import type { Transport } from "./transport-types.ts";

/** Where served blobs come from. */
export interface BlobSource {
  /** Size in bytes, or null where the blob is not served to this peer. */
  size(hash: Hash, to: PublicKey): number | null | Promise<number | null>;
  /** Exactly `length` bytes from `offset`. */
  read(hash: Hash, offset: number, length: number): Promise<Uint8Array>;
}

/** Answers `blob.get` from `source`. */
export function serveBlobs(transport: Transport, source: BlobSource): void {
  transport.handle(blobGet.request.type, async (from, body) => {
    const { hash, offset, length } = blobGet.request.schema.parse(body);
    const size_bytes = await source.size(hash, from);
    if (size_bytes === null)
      throw new MagnetError("BLOB_NOT_FOUND", "this blob is not served here");
    if (offset + length > size_bytes)
      throw new MagnetError("BLOB_RANGE", `the blob has ${size_bytes} bytes`);
    return { size_bytes, data: await source.read(hash, offset, length) };
  });
}

export interface FetchOptions {
  hash: Hash;
  size_bytes: number;
  /** Peers to ask, in this order. */
  sources: readonly PublicKey[];
  /** Final path; one fetch at a time for one path. */
  file: string;
  signal?: AbortSignal | undefined;
  /** Requests in flight. */
  window?: number;
  chunk_bytes?: number;
  /** For one chunk. */
  timeout_ms?: number;
}

/** Chunks in flight unless told otherwise: 8 MiB. */
const WINDOW = 8;
const CHUNK_TIMEOUT_MS = 30_000;
/** Points for a blob that is not what its hash says: two of them and the peer is barred. */
const CORRUPT_POINTS = 50;

/**
 * Fetches a blob into `file`. Sources are tried in turn, each continuing where the last one ended.
 * Throws BLOB_UNAVAILABLE (retryable, the part file stays for the next call), REQUEST_ABORTED, disk
 * failures.
 */
export async function fetchBlob(transport: Transport, options: FetchOptions): Promise<void> {
  const { hash, size_bytes, sources, file, signal } = options;
  const part = await PartFile.open(`${file}.part`, size_bytes);
  const excluded = new Set<PublicKey>();
  let reason = "no source was given";
  // A corrupt mixture does not say who lied: from then on each source delivers the whole alone.
  let isAlone = false;
  try {
    for (let at = 0; at < sources.length; at++) {
      const peer = sources[at]!;
      if (excluded.has(peer)) continue;
      if (isAlone) await part.restart();
      try {
        await pull(transport, options, peer, part);
      } catch (error) {
        const known = toMagnetError(error);
        if (signal?.aborted || known.exit === "interrupted" || isLocal(known)) throw known;
        reason = known.message;
        continue;
      }
      if (part.digest() === hash) {
        await part.finish(file);
        return;
      }
      reason = "what the sources delivered does not have this hash";
      const only = part.onlyContributor();
      if (only !== undefined) {
        transport.penalize(only, CORRUPT_POINTS, "corrupt_blob");
        excluded.add(only);
      }
      isAlone = true;
      await part.restart();
      if (only === undefined) at = -1; // ask all again, one by one
    }
  } finally {
    await part.close();
  }
  throw new MagnetError("BLOB_UNAVAILABLE", `blob ${hash.slice(0, 12)}: ${reason}`, {
    hint: "it is fetched again once a peer that has it is connected",
    retryable: true,
    exit: "unreachable",
  });
}

/** Failures of this machine's disk, which another source would not cure. */
const isLocal = (error: MagnetError) =>
  ["DISK_FULL", "NOT_PERMITTED", "NOT_FOUND", "TOO_MANY_FILES"].includes(error.code) &&
  error.cause !== undefined;

/** Pulls the rest of the blob from one peer, several chunks in flight, written in order. */
async function pull(
  transport: Transport,
  options: FetchOptions,
  peer: PublicKey,
  part: PartFile,
): Promise<void> {
  const { hash, size_bytes, window = WINDOW, chunk_bytes = CHUNK_MAX } = options;
  const { timeout_ms = CHUNK_TIMEOUT_MS } = options;
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const inFlight: { length: number; answer: Promise<unknown> }[] = [];
  let next = part.offset;
  try {
    while (part.offset < size_bytes) {
      while (inFlight.length < window && next < size_bytes) {
        const length = Math.min(chunk_bytes, size_bytes - next);
        const body = { hash, offset: next, length };
        const answer = transport.request(peer, "blob.get", body, { timeout_ms, signal });
        answer.catch(ignoreHere);
        inFlight.push({ length, answer });
        next += length;
      }
      const { length, answer } = inFlight.shift()!;
      const chunk = blobGet.response.schema.parse(await answer);
      if (chunk.size_bytes !== size_bytes || chunk.data.length !== length) {
        transport.penalize(peer, CORRUPT_POINTS, "wrong_chunk");
        throw new MagnetError("BLOB_WRONG_CHUNK", "a source delivered a chunk of another size");
      }
      await part.append(chunk.data, peer);
    }
  } finally {
    stop.abort();
  }
}

/**
 * A failed chunk is noticed where it is awaited; those behind it are cancelled, which is no news.
 */
const ignoreHere = () => undefined;

/** The growing file: its length is how far the blob is contiguous. */
class PartFile {
  offset = 0;
  readonly #path: string;
  readonly #handle: FileHandle;
  #hasher = new Bun.CryptoHasher("sha256");
  readonly #contributors = new Set<PublicKey>();
  #has_old_bytes = false;

  private constructor(file: string, handle: FileHandle) {
    this.#path = file;
    this.#handle = handle;
  }

  /**
   * Opens the part and hashes what an earlier attempt left; a part that is too long starts over.
   */
  static async open(file: string, size_bytes: number): Promise<PartFile> {
    try {
      fs.mkdirSync(path.dirname(file), { recursive: true });
      const flags = fs.constants.O_RDWR | fs.constants.O_CREAT;
      const part = new PartFile(file, await open(file, flags, 0o600));
      const { size } = await part.#handle.stat();
      if (size > size_bytes) await part.restart();
      else await part.#readBack(size);
      return part;
    } catch (error) {
      throw toMagnetError(error);
    }
  }

  async #readBack(size: number): Promise<void> {
    const buffer = new Uint8Array(CHUNK_MAX);
    while (this.offset < size) {
      const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, this.offset);
      if (bytesRead === 0) break;
      this.#hasher.update(buffer.subarray(0, bytesRead));
      this.offset += bytesRead;
    }
    this.#has_old_bytes = this.offset > 0;
  }

  async append(data: Uint8Array, from: PublicKey): Promise<void> {
    for (let done = 0; done < data.length; ) {
      const at = this.offset + done;
      const rest = data.length - done;
      const { bytesWritten } = await this.#handle.write(data, done, rest, at);
      done += bytesWritten;
    }
    this.#hasher.update(data);
    this.offset += data.length;
    this.#contributors.add(from);
  }

  digest(): string {
    return this.#hasher.copy().digest("hex");
  }

  /** The peer that all bytes came from; undefined for a mixture. */
  onlyContributor(): PublicKey | undefined {
    const [first, second] = this.#contributors;
    return second === undefined && !this.#has_old_bytes ? first : undefined;
  }

  async restart(): Promise<void> {
    await this.#handle.truncate(0);
    this.offset = 0;
    this.#hasher = new Bun.CryptoHasher("sha256");
    this.#contributors.clear();
    this.#has_old_bytes = false;
  }

  /** Durable first, then under its name. */
  async finish(file: string): Promise<void> {
    await this.#handle.sync();
    await rename(this.#path, file);
  }

  /** An empty part is not left behind. */
  async close(): Promise<void> {
    await this.#handle.close();
    if (this.offset === 0) await rm(this.#path, { force: true });
  }
}
