/**
 * One WebSocket, of either side, as bytes in and out with counters. What is above decides; this
 * file only hides the difference between Bun's server sockets and its client.
 */

/** Receives what a socket delivers; replaced when the handshake is done. */
export interface WireHandler {
  /** A binary message; undefined stands for a text message, which no peer may send. */
  message(bytes: Uint8Array | undefined): void;
  closed(reason: string): void;
}

/** Total bytes of all sockets of one transport. */
export interface ByteCounter {
  bytes_in: number;
  bytes_out: number;
}

/** The socket operations that both sides offer. */
export interface Socket {
  /** False where the bytes were dropped. */
  send(bytes: Uint8Array): boolean;
  buffered_bytes(): number;
  close(code: number, reason: string): void;
  terminate(): void;
}

/** Length of a WebSocket frame with `length` payload bytes (RFC 6455 5.2). */
const frameBytes = (length: number, masked: boolean) =>
  length + (length < 126 ? 2 : length < 65_536 ? 4 : 10) + (masked ? 4 : 0);

/**
 * A socket with its handler and counters; `dialer`: this side opened it (and masks what it sends).
 */
export class Wire {
  readonly remote_host: string;
  readonly dialer: boolean;
  handler: WireHandler | undefined;
  bytes_in = 0;
  bytes_out = 0;
  readonly #socket: Socket;
  readonly #total: ByteCounter;
  #closed = false;

  constructor(socket: Socket, remote_host: string, dialer: boolean, total: ByteCounter) {
    this.#socket = socket;
    this.remote_host = remote_host;
    this.dialer = dialer;
    this.#total = total;
  }

  get closed(): boolean {
    return this.#closed;
  }

  buffered_bytes(): number {
    return this.#closed ? 0 : this.#socket.buffered_bytes();
  }

  send(bytes: Uint8Array): boolean {
    if (this.#closed || !this.#socket.send(bytes)) return false;
    const sent = frameBytes(bytes.length, this.dialer);
    this.bytes_out += sent;
    this.#total.bytes_out += sent;
    return true;
  }

  /** Called by the socket. */
  received(data: string | Uint8Array): void {
    if (this.#closed) return;
    const got = frameBytes(data.length, !this.dialer);
    this.bytes_in += got;
    this.#total.bytes_in += got;
    this.handler?.message(typeof data === "string" ? undefined : data);
  }

  /** Called by the socket when it is gone, and by `close`; the handler hears of it once. */
  gone(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.handler?.closed(reason);
  }

  /** Says goodbye and stops listening at once: what still arrives is not looked at. */
  close(reason: string): void {
    if (this.#closed) return;
    this.gone(reason);
    this.#socket.close(1000, "");
  }

  /** Drops the socket without waiting for the other side. */
  terminate(reason: string): void {
    if (this.#closed) return;
    this.gone(reason);
    this.#socket.terminate();
  }
}
