/** Logs by filter, from the index; and the filters that clients leave here to be asked again. */
import type { EmbeddedChain } from "./chain.ts";
import { type Hex, quantity, toHex } from "./hex.ts";
import { CHAIN_LIMITS } from "./limits.ts";
import { type EventChoice, parseChoice, parseRange } from "./params.ts";
import { type Json, logsBefore, logsJson } from "./render.ts";
import { refused } from "./rpc-error.ts";
import type { EventQuery, StoredBlock } from "./store.ts";

/** Logs that fit, oldest first. Throws RpcError where there are too many for one answer. */
export function findLogs(chain: EmbeddedChain, query: EventQuery): Json[] {
  const places = chain.store.events(query, CHAIN_LIMITS.logs + 1);
  if (places.length > CHAIN_LIMITS.logs)
    throw refused(
      `query returns more than ${CHAIN_LIMITS.logs} logs: ask for fewer blocks (${query.from} to ${query.to})`,
    );
  const found: Json[] = [];
  let number = -1;
  let logs: Json[] = [];
  let characters = 0;
  for (const place of places) {
    if (place.number !== number) {
      number = place.number;
      logs = allLogs(chain.store.block(number)!);
    }
    const one = logs[place.position]!;
    characters += 1000 + (one.data as string).length;
    if (characters > CHAIN_LIMITS.log_characters)
      throw refused("query returns too much data: ask for fewer blocks");
    found.push(one);
  }
  return found;
}

/** Every log of a block. */
export const allLogs = (block: StoredBlock): Json[] =>
  block.raws.flatMap((_, i) => logsJson(block, i, logsBefore(block.receipts, i)));

type Filter =
  | {
      kind: "logs";
      choice: EventChoice;
      range: { from: number; to: number };
      open: boolean;
      next: number;
    }
  | { kind: "blocks"; next: number }
  | { kind: "waiting"; seen: Set<Hex> };

/** Filters by id; the one unused for longest makes room for a new one. */
export class Filters {
  readonly #chain: EmbeddedChain;
  readonly #filters = new Map<Hex, Filter>();
  #last = 0;

  constructor(chain: EmbeddedChain) {
    this.#chain = chain;
  }

  get #height(): number {
    return Number(this.#chain.head.header.number);
  }

  #keep(filter: Filter): Hex {
    const id = quantity(++this.#last);
    this.#filters.set(id, filter);
    const oldest = this.#filters.keys().next().value;
    if (this.#filters.size > CHAIN_LIMITS.filters && oldest !== undefined)
      this.#filters.delete(oldest);
    return id;
  }

  newLogs(value: unknown): Hex {
    const choice = parseChoice(value);
    const { toBlock, blockHash } = value as Record<string, unknown>;
    const open = blockHash === undefined && (toBlock === undefined || toBlock === "latest");
    const range = parseRange(this.#chain, value);
    return this.#keep({ kind: "logs", choice, range, open, next: this.#height + 1 });
  }

  newBlocks(): Hex {
    return this.#keep({ kind: "blocks", next: this.#height + 1 });
  }

  newWaiting(): Hex {
    const seen = new Set([...this.#chain.pool].map(({ hash }) => hash));
    return this.#keep({ kind: "waiting", seen });
  }

  remove(id: Hex): boolean {
    return this.#filters.delete(id);
  }

  #use(id: Hex): Filter {
    const filter = this.#filters.get(id);
    if (filter === undefined) throw refused("filter not found");
    this.#filters.delete(id); // to the end: it was used last
    this.#filters.set(id, filter);
    return filter;
  }

  /** What is new since the last call: logs, block hashes or transaction hashes. */
  changes(id: Hex): unknown[] {
    const filter = this.#use(id);
    if (filter.kind === "waiting") {
      const now = [...this.#chain.pool].map(({ hash }) => hash);
      const fresh = now.filter((hash) => !filter.seen.has(hash));
      filter.seen = new Set(now);
      return fresh;
    }
    const from = filter.next;
    const to = Math.min(this.#height, from + Number(CHAIN_LIMITS.log_blocks) - 1);
    filter.next = Math.max(from, to + 1);
    if (filter.kind === "blocks") {
      const hashes: Hex[] = [];
      for (let number = from; number <= to; number++)
        hashes.push(toHex(this.#chain.hashOf(number)));
      return hashes;
    }
    const last = filter.open ? to : Math.min(to, filter.range.to);
    return findLogs(this.#chain, { ...filter.choice, from, to: last });
  }

  /** All logs of a log filter, whatever was fetched before. */
  logs(id: Hex): Json[] {
    const filter = this.#use(id);
    if (filter.kind !== "logs") throw refused("filter not found: it is not one of logs");
    const to = filter.open ? this.#height : filter.range.to;
    return findLogs(this.#chain, { ...filter.choice, from: filter.range.from, to });
  }
}
