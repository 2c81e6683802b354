/** The last events of a run, kept cheaply and put into words only when a run fails. */
import type { NodeEvent } from "../agent/node-types.ts";

/** Lines printed with a failing seed. */
const TAIL = 120;
/** Events kept: ticks and heartbeats are left out. */
const KEPT = 4096;

interface Line {
  at_ms: number;
  node: number;
  what: string;
  detail: unknown;
}

export class Trace {
  readonly #lines: Line[] = [];
  #next = 0;
  /** A running hash of everything that happened: equal runs have equal fingerprints. */
  fingerprint = 0;

  /** Notes an event that a node is about to handle. */
  event(at_ms: number, node: number, event: NodeEvent): void {
    const what = event.type === "message" ? event.message.type : event.type;
    this.#mix(at_ms, node, what);
    if (what === "tick" || what === "membership.heartbeat") return;
    this.#keep({ at_ms, node, what, detail: event });
  }

  /** Notes something that happened to a node: a crash, a log line. */
  note(at_ms: number, node: number, what: string, detail: unknown): void {
    this.#mix(at_ms, node, what);
    this.#keep({ at_ms, node, what, detail });
  }

  /** The last lines, oldest first. */
  tail(): string[] {
    const ordered = [...this.#lines.slice(this.#next), ...this.#lines.slice(0, this.#next)];
    return ordered.slice(-TAIL).map(({ at_ms, node, what, detail }) => {
      const text = JSON.stringify(detail)?.replaceAll(/[0-9a-f]{40,}/g, (hex) => hex.slice(0, 8));
      return `${(at_ms / 1000).toFixed(3)}s node ${node} ${what} ${text?.slice(0, 400) ?? ""}`;
    });
  }

  #mix(at_ms: number, node: number, what: string): void {
    const value = Math.floor(at_ms * 1000) ^ (node * 0x9e3779b1) ^ (what.length << 16);
    this.fingerprint = Math.imul(this.fingerprint ^ value, 0x01000193) >>> 0;
  }

  #keep(line: Line): void {
    if (this.#lines.length < KEPT) {
      this.#lines.push(line);
      return;
    }
    this.#lines[this.#next] = line;
    this.#next = (this.#next + 1) % KEPT;
  }
}
