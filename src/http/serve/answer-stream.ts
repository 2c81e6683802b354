/**
 * The body of a streamed answer: lines are written into a small buffer that the client empties. A
 * client that reads slowly slows its own answer down; one that stops reading, or goes away, ends
 * it: the signal of its work is aborted and nothing is kept for it.
 */
import type { ServeLimits } from "./limits.ts";

export interface AnswerStreamOptions {
  limits: Pick<ServeLimits, "stall_ms" | "stream_buffer_bytes">;
  /** Called when nobody reads any more: the client went away or stalled. */
  onDropped(reason: "closed" | "stalled"): void;
}

/** Thrown into the writer once its reader is gone. */
export class ReaderGone extends Error {}

export class AnswerStream {
  readonly body: ReadableStream<Uint8Array>;
  readonly #encoder = new TextEncoder();
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #buffered: Uint8Array[] = [];
  #buffered_bytes = 0;
  #ended = false;
  #dropped = false;
  #pulled: (() => void) | undefined;
  #room: (() => void) | undefined;

  constructor(private readonly options: AnswerStreamOptions) {
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#pull(),
        cancel: () => this.#drop("closed"),
      },
      { highWaterMark: 0 },
    );
  }

  get dropped(): boolean {
    return this.#dropped;
  }

  /** Resolves as soon as there is room for more. Throws ReaderGone. */
  async write(text: string): Promise<void> {
    if (this.#dropped) throw new ReaderGone();
    const bytes = this.#encoder.encode(text);
    this.#buffered.push(bytes);
    this.#buffered_bytes += bytes.byteLength;
    this.#wakeReader();
    if (this.#buffered_bytes > this.options.limits.stream_buffer_bytes) await this.#waitForRoom();
  }

  /** After the last write. */
  end(): void {
    this.#ended = true;
    this.#wakeReader();
  }

  #wakeReader(): void {
    const pulled = this.#pulled;
    this.#pulled = undefined;
    pulled?.();
  }

  /** Hands out all that is buffered; waits where nothing is. */
  async #pull(): Promise<void> {
    if (this.#buffered.length === 0 && !this.#ended && !this.#dropped)
      await new Promise<void>((resolve) => {
        this.#pulled = resolve;
      });
    if (this.#dropped) return;
    if (this.#buffered.length > 0) this.#controller.enqueue(Buffer.concat(this.#buffered));
    else this.#controller.close();
    this.#buffered = [];
    this.#buffered_bytes = 0;
    this.#room?.();
  }

  async #waitForRoom(): Promise<void> {
    const timer = setTimeout(() => this.#stalled(), this.options.limits.stall_ms);
    await new Promise<void>((resolve) => {
      this.#room = resolve;
    });
    clearTimeout(timer);
    this.#room = undefined;
    if (this.#dropped) throw new ReaderGone();
  }

  #stalled(): void {
    this.#drop("stalled");
    // Breaks the connection off. The runtime would print an Error; the log tells of it already.
    this.#controller.error(undefined);
  }

  #drop(reason: "closed" | "stalled"): void {
    if (this.#dropped) return;
    this.#dropped = true;
    this.#buffered = [];
    this.#buffered_bytes = 0;
    this.#wakeReader();
    this.#room?.();
    this.options.onDropped(reason);
  }

  /** The client's connection was lost without the stream being cancelled. */
  abandon(): void {
    if (!this.#ended) this.#drop("closed");
  }
}
