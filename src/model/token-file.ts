/**
 * Token files (.mgt): the tokens of many documents, packed. Layout, little-endian:
 *   header, 128 bytes:  0 "MGTOKENS" | 8 u32 version 1 | 12 u32 bytes per token (2 or 4)
 *     | 16 u32 vocabulary size | 20 u32 zero | 24 u64 documents | 32 u64 tokens | 40 u64 text bytes
 *     | 48 tokenizer hash (32) | 80 zero (48)
 *   tokens, u16 or u32, zero-padded to a multiple of 8 bytes
 *   document starts, u64 each: index of the document's first token
 *   SHA-256 (32) over tokens with padding, document starts, header (in this order: the counts of the
 *     header are known last, and writing streams)
 * Tokens are read from a mapping of the file (native/token-map.ts) whose hash was checked before; a
 * file that shrinks under us is an error. Where a file system does not map, they are read by
 * position.
 */
import fs from "node:fs";
import { promisify } from "node:util";
import { equalBytes, fromHex, toHex } from "../core/bytes.ts";
import { invariant, MagnetError, toMagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";
import { TokenMap } from "../native/token-map.ts";
import { CHUNK_BYTES } from "./file-system.ts";

export const TOKEN_FILE_MAGIC = "MGTOKENS";
export const TOKEN_FILE_HEADER_BYTES = 128;
const HASH_BYTES = 32;
const VERSION = 1;
/** 2^40 tokens are 2 TB: nothing real is larger, and all offsets stay exact. */
const TOKENS_MAX = 2 ** 40;
const DOCUMENTS_MAX = 2 ** 32;

export interface TokenFileHeader {
  token_bytes: 2 | 4;
  vocab_size: number;
  document_count: number;
  token_count: number;
  /** UTF-8 bytes of the text that was encoded (special tokens have none). */
  text_bytes: number;
  tokenizer_hash: Hash;
}

/** Bytes by position: a file or memory. */
interface ByteSource {
  size_bytes: number;
  /** Fills `target` from `position`; a short read throws TOKENS_CORRUPT. */
  read(target: Uint8Array, position: number): void;
  /** The same without holding up the event loop, for reading a whole file. */
  readAsync(target: Uint8Array, position: number): Promise<void>;
  /** Descriptor of an open file, which may be mapped. */
  fd?: number;
  close(): void;
}

function memorySource(bytes: Uint8Array): ByteSource {
  const read = (target: Uint8Array, position: number) =>
    target.set(bytes.subarray(position, position + target.length));
  return {
    size_bytes: bytes.length,
    read,
    readAsync: async (target, position) => read(target, position),
    close: () => undefined,
  };
}

const readAt = promisify(fs.read);

function fileSource(path: string): ByteSource {
  const fd = fs.openSync(path, "r");
  const stat = fs.fstatSync(fd);
  if (!stat.isFile()) {
    fs.closeSync(fd);
    throw new MagnetError("NOT_A_FILE", `${path} is not a file`, { hint: "name a .mgt file" });
  }
  const cutAt = (position: number) => corrupt(path, `ends at byte ${position}, before its content`);
  return {
    size_bytes: stat.size,
    fd,
    read(target, position) {
      for (let done = 0; done < target.length; ) {
        const read = fs.readSync(fd, target, done, target.length - done, position + done);
        if (read === 0) throw cutAt(position + done);
        done += read;
      }
    },
    async readAsync(target, position) {
      for (let done = 0; done < target.length; ) {
        const left = target.length - done;
        const { bytesRead } = await readAt(fd, target, done, left, position + done);
        if (bytesRead === 0) throw cutAt(position + done);
        done += bytesRead;
      }
    },
    close: () => fs.closeSync(fd),
  };
}

function corrupt(name: string, what: string): MagnetError {
  return new MagnetError("TOKENS_CORRUPT", `${name} ${what}`, {
    hint: "make it again with: magnet data prepare",
    exit: "verification",
  });
}

export function encodeTokenFileHeader(header: TokenFileHeader): Uint8Array {
  const out = new Uint8Array(TOKEN_FILE_HEADER_BYTES);
  const view = new DataView(out.buffer);
  new TextEncoder().encodeInto(TOKEN_FILE_MAGIC, out);
  view.setUint32(8, VERSION, true);
  view.setUint32(12, header.token_bytes, true);
  view.setUint32(16, header.vocab_size, true);
  view.setBigUint64(24, BigInt(header.document_count), true);
  view.setBigUint64(32, BigInt(header.token_count), true);
  view.setBigUint64(40, BigInt(header.text_bytes), true);
  out.set(fromHex(header.tokenizer_hash), 48);
  return out;
}

function decodeHeader(name: string, bytes: Uint8Array): TokenFileHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const magic = new TextDecoder("latin1").decode(bytes.subarray(0, 8));
  if (magic !== TOKEN_FILE_MAGIC) throw corrupt(name, "is not a token file");
  const version = view.getUint32(8, true);
  if (version !== VERSION)
    throw new MagnetError("UNSUPPORTED", `${name}: token file version ${version}`, {
      hint: "make it again with this magnet: magnet data prepare",
    });
  const token_bytes = view.getUint32(12, true);
  if (token_bytes !== 2 && token_bytes !== 4) throw corrupt(name, `has ${token_bytes}-byte tokens`);
  const counts = [24, 32, 40].map((at) => Number(view.getBigUint64(at, true)));
  const [document_count, token_count, text_bytes] = counts as [number, number, number];
  const vocab_size = view.getUint32(16, true);
  if (token_count > TOKENS_MAX || document_count > DOCUMENTS_MAX || text_bytes > TOKENS_MAX * 64)
    throw corrupt(name, "claims more content than a token file may hold");
  if (view.getUint32(20, true) !== 0 || bytes.subarray(80).some((b) => b !== 0))
    throw corrupt(name, "has unknown header fields");
  return {
    token_bytes,
    vocab_size,
    document_count,
    token_count,
    text_bytes,
    tokenizer_hash: toHex(bytes.subarray(48, 80)) as Hash,
  };
}

/** Bytes of the token section, padding included. */
export const tokenSectionBytes = (header: Pick<TokenFileHeader, "token_bytes" | "token_count">) =>
  Math.ceil((header.token_bytes * header.token_count) / 8) * 8;

/** null where the file has no tokens or its file system does not map. */
function mapTokens(name: string, fd: number, header: TokenFileHeader): TokenMap | null {
  const { token_count, token_bytes } = header;
  if (token_count === 0) return null;
  try {
    return new TokenMap(fd, { offset: TOKEN_FILE_HEADER_BYTES, token_count, token_bytes });
  } catch (error) {
    const { code } = toMagnetError(error);
    if (code === "UNSUPPORTED") return null;
    throw code === "BAD_FORMAT" ? corrupt(name, "was cut off while it was opened") : error;
  }
}

/**
 * An open token file; its hash was checked when it was opened. Errors: NOT_FOUND, TOKENS_CORRUPT (exit
 * kind verification), UNSUPPORTED (another version).
 */
export class TokenFile {
  private constructor(
    readonly name: string,
    readonly header: TokenFileHeader,
    /** SHA-256 of the content: equal files hold equal tokens. */
    readonly content_hash: Hash,
    private readonly source: ByteSource,
    private readonly map: TokenMap | null,
  ) {}

  get token_count(): number {
    return this.header.token_count;
  }

  /** Opens a .mgt file and reads it once to check its hash (about 0.6 GB/s). */
  static async open(path: string): Promise<TokenFile> {
    let source: ByteSource | undefined;
    try {
      source = fileSource(path);
      return await TokenFile.from(path, source);
    } catch (error) {
      source?.close();
      throw toMagnetError(error);
    }
  }

  /** The same over bytes in memory; `name` appears in errors. */
  static fromBytes(name: string, bytes: Uint8Array): Promise<TokenFile> {
    return TokenFile.from(name, memorySource(bytes));
  }

  private static async from(name: string, source: ByteSource): Promise<TokenFile> {
    if (source.size_bytes < TOKEN_FILE_HEADER_BYTES + HASH_BYTES)
      throw corrupt(name, `has only ${source.size_bytes} bytes: not a token file`);
    const headerBytes = new Uint8Array(TOKEN_FILE_HEADER_BYTES);
    source.read(headerBytes, 0);
    const header = decodeHeader(name, headerBytes);
    const body_bytes = tokenSectionBytes(header) + 8 * header.document_count;
    const expected = TOKEN_FILE_HEADER_BYTES + body_bytes + HASH_BYTES;
    if (source.size_bytes !== expected)
      throw corrupt(name, `has ${source.size_bytes} bytes, its header says ${expected}: cut off?`);
    const hasher = new Bun.CryptoHasher("sha256");
    const buffer = new Uint8Array(Math.min(CHUNK_BYTES, body_bytes));
    for (let at = 0; at < body_bytes; at += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, body_bytes - at));
      await source.readAsync(piece, TOKEN_FILE_HEADER_BYTES + at);
      hasher.update(piece);
    }
    const found = new Uint8Array(hasher.update(headerBytes).digest());
    const stored = new Uint8Array(HASH_BYTES);
    source.read(stored, TOKEN_FILE_HEADER_BYTES + body_bytes);
    if (!equalBytes(found, stored)) throw corrupt(name, "does not match its own hash: damaged");
    const map = source.fd === undefined ? null : mapTokens(name, source.fd, header);
    return new TokenFile(name, header, toHex(found) as Hash, source, map);
  }

  /** Copies tokens [start, start + target.length) into `target`. */
  readInto(target: Int32Array, start: number): void {
    const { token_bytes, token_count } = this.header;
    invariant(start >= 0 && start + target.length <= token_count, "tokens outside the file");
    if (this.map) {
      this.readMapped(this.map, target, start);
      return;
    }
    const position = TOKEN_FILE_HEADER_BYTES + start * token_bytes;
    if (token_bytes === 4) {
      const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
      this.source.read(bytes, position);
      return;
    }
    const narrow = new Uint16Array(target.length);
    this.source.read(new Uint8Array(narrow.buffer), position);
    target.set(narrow);
  }

  private readMapped(map: TokenMap, target: Int32Array, start: number): void {
    try {
      map.readInto(target, start);
    } catch (error) {
      if (toMagnetError(error).code !== "BAD_FORMAT") throw error;
      throw corrupt(this.name, "was cut off while it was open");
    }
  }

  /** Tokens [start, start + count) in fresh memory. */
  tokens(start: number, count: number): Int32Array {
    const target = new Int32Array(count);
    this.readInto(target, start);
    return target;
  }

  /** Index of the first token of document `index`, or token_count for the one past the last. */
  documentStart(index: number): number {
    const { document_count, token_count } = this.header;
    invariant(index >= 0 && index <= document_count, "document outside the file");
    if (index === document_count) return token_count;
    const slot = new BigUint64Array(1);
    const position = TOKEN_FILE_HEADER_BYTES + tokenSectionBytes(this.header) + 8 * index;
    this.source.read(new Uint8Array(slot.buffer), position);
    return Number(slot[0]);
  }

  /** Throws TOKENIZER_MISMATCH unless the file was made with the tokenizer of this hash. */
  expectTokenizer(hash: Hash): void {
    if (this.header.tokenizer_hash === hash) return;
    throw new MagnetError(
      "TOKENIZER_MISMATCH",
      `${this.name} was made with tokenizer ${this.header.tokenizer_hash.slice(0, 12)}, not ${hash.slice(0, 12)}`,
      {
        hint: "prepare the data again with this tokenizer, or name the tokenizer.json it was made with",
        exit: "verification",
      },
    );
  }

  close(): void {
    this.map?.close();
    this.source.close();
  }
}
