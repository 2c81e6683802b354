/**
 * Writes a token file piece by piece, to memory or to disk, holding only the document starts (8
 * bytes a document) and one small buffer.
 */
import { invariant } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";
import { bytesOf } from "./safetensors.ts";
import {
  encodeTokenFileHeader,
  TOKEN_FILE_HEADER_BYTES,
  TokenFile,
  tokenSectionBytes,
} from "./token-file.ts";

/** Where the bytes of a token file go: appended, but the header, which is known last. */
export interface TokenSink {
  append(bytes: Uint8Array): Promise<void>;
  /** Puts `bytes` at the start, over the zeros appended first. */
  header(bytes: Uint8Array): Promise<void>;
}

/** Tokens gathered before they are hashed and written: 256 Ki. */
const BUFFER_TOKENS = 256 * 1024;

/** Document starts of a piece: memory grows by 512 KiB at a time, and nothing is copied. */
const STARTS_AT_ONCE = 64 * 1024;

export class TokenWriter {
  private readonly hasher = new Bun.CryptoHasher("sha256");
  private readonly buffer: Uint16Array | Uint32Array;
  private buffered = 0;
  /** In pieces of STARTS_AT_ONCE, as the file will have them. */
  private readonly starts: BigUint64Array[] = [];
  private document_count = 0;
  private token_count = 0;
  private text_bytes = 0;

  private constructor(
    private readonly sink: TokenSink,
    private readonly vocab_size: number,
    private readonly tokenizer_hash: Hash,
  ) {
    this.buffer =
      vocab_size <= 65_536 ? new Uint16Array(BUFFER_TOKENS) : new Uint32Array(BUFFER_TOKENS);
  }

  static async start(
    sink: TokenSink,
    options: { vocab_size: number; tokenizer_hash: Hash },
  ): Promise<TokenWriter> {
    await sink.append(new Uint8Array(TOKEN_FILE_HEADER_BYTES));
    return new TokenWriter(sink, options.vocab_size, options.tokenizer_hash);
  }

  /** The next tokens belong to a new document. */
  startDocument(): void {
    const index = this.document_count++ % STARTS_AT_ONCE;
    if (index === 0) this.starts.push(new BigUint64Array(STARTS_AT_ONCE));
    this.starts.at(-1)![index] = BigInt(this.token_count);
  }

  /** Appends tokens that encode `text_bytes` bytes of text. */
  async add(tokens: Int32Array, text_bytes: number): Promise<void> {
    invariant(this.document_count > 0, "tokens belong to a document");
    for (let done = 0; done < tokens.length; ) {
      const piece = tokens.subarray(done, done + this.buffer.length - this.buffered);
      this.buffer.set(piece, this.buffered);
      this.buffered += piece.length;
      done += piece.length;
      if (this.buffered === this.buffer.length) await this.flush();
    }
    this.token_count += tokens.length;
    this.text_bytes += text_bytes;
  }

  /** Writes what is left, the document starts, the hash and the header. */
  async finish(): Promise<void> {
    await this.flush();
    const token_bytes = this.buffer.BYTES_PER_ELEMENT as 2 | 4;
    const { vocab_size, document_count, token_count, text_bytes, tokenizer_hash } = this;
    const written = token_bytes * token_count;
    await this.put(new Uint8Array(tokenSectionBytes({ token_bytes, token_count }) - written));
    for (const [i, starts] of this.starts.entries())
      await this.put(bytesOf(starts.subarray(0, document_count - i * STARTS_AT_ONCE)));
    const header = encodeTokenFileHeader({
      token_bytes,
      vocab_size,
      document_count,
      token_count,
      text_bytes,
      tokenizer_hash,
    });
    await this.sink.append(new Uint8Array(this.hasher.update(header).digest()));
    await this.sink.header(header);
  }

  private async flush(): Promise<void> {
    await this.put(bytesOf(this.buffer.subarray(0, this.buffered)));
    this.buffered = 0;
  }
  private async put(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return;
    this.hasher.update(bytes);
    await this.sink.append(bytes);
  }
}

/** A sink in memory; `open` gives the finished file. */
export function memorySink(): TokenSink & { open(name: string): Promise<TokenFile> } {
  const parts: Uint8Array[] = [];
  return {
    append: async (bytes) => {
      parts.push(bytes.slice());
    },
    header: async (bytes) => {
      parts[0] = bytes.slice();
    },
    open: (name) => TokenFile.fromBytes(name, new Uint8Array(Buffer.concat(parts))),
  };
}
