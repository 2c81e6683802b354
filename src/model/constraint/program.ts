/**
 * Builds the program of a constraint: a pushdown automaton over bytes (cpp/cpu/grammar_program.hpp).
 * Built from the end: every function takes the state that follows and returns the one to begin at.
 * Equal states are one state. `null` stands for a state from which there is no text: what leads there
 * only is null itself.
 *
 * Layout, uint32 little-endian: "MGC1", states, edges, start, deepest stack; 5 words a state
 * (operation, a, b, c, d), 2 words an edge (low | high << 8, target).
 */
import { invariant } from "../../core/errors.ts";
import { refuse } from "./errors.ts";
import { LIMITS } from "./limits.ts";

export type State = number;
export type MaybeState = State | null;

/** Reads a byte of low..high. */
export interface ByteEdge {
  low: number;
  high: number;
  target: MaybeState;
}

const OPS = { bytes: 0, split: 1, call: 2, leave: 3, repeat: 4 } as const;
type Op = keyof typeof OPS;
const MAGIC = 0x3143474d;
export const FOREVER = 0xffff_ffff;

interface StateOf {
  op: Op;
  /** Rule and next state of calls and repeats. */
  rule: State;
  next: State;
  min: number;
  max: number;
  edges: readonly { low: number; high: number; target: State }[];
}

export class ProgramBuilder {
  readonly #states: StateOf[] = [];
  readonly #known = new Map<string, State>();
  /** Ends a rule. */
  readonly leave: State;

  constructor() {
    this.leave = this.#add({ ...EMPTY, op: "leave" });
  }

  #add(state: StateOf): State {
    if (this.#states.length >= LIMITS.states_max)
      throw refuse("", `the schema needs more than ${LIMITS.states_max} states`, {
        hint: "ask for less at once: shorter enums and patterns, fewer properties",
      });
    return this.#states.push(state) - 1;
  }

  #shared(state: StateOf): State {
    const edges = state.edges.map((e) => `${e.low}-${e.high}>${e.target}`).join();
    const key = `${state.op} ${state.rule} ${state.next} ${state.min} ${state.max} ${edges}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const made = this.#add(state);
    this.#known.set(key, made);
    return made;
  }

  bytes(edges: readonly ByteEdge[]): MaybeState {
    const alive = edges.flatMap(({ low, high, target }) =>
      target === null ? [] : [{ low, high, target }],
    );
    return alive.length === 0 ? null : this.#shared({ ...EMPTY, op: "bytes", edges: alive });
  }

  /** Any of them. */
  split(targets: readonly MaybeState[]): MaybeState {
    const alive = [...new Set(targets.filter((target) => target !== null))];
    if (alive.length < 2) return alive[0] ?? null;
    const edges = alive.map((target) => ({ low: 0, high: 0, target }));
    return this.#shared({ ...EMPTY, op: "split", edges });
  }

  call(rule: MaybeState, next: MaybeState): MaybeState {
    if (rule === null || next === null) return null;
    return this.#shared({ ...EMPTY, op: "call", rule, next });
  }

  /** The rule, min to max times. */
  repeat(rule: MaybeState, next: MaybeState, min: number, max = FOREVER): MaybeState {
    if (next === null || min > max || (rule === null && min > 0)) return null;
    if (rule === null || max === 0) return next;
    const limit = Math.min(max, FOREVER);
    return this.#shared({
      ...EMPTY,
      op: "repeat",
      rule,
      next,
      min: Math.min(min, limit),
      max: limit,
    });
  }

  text(text: string, next: MaybeState): MaybeState {
    return this.#chain(Buffer.from(text), next);
  }

  #chain(bytes: Uint8Array, next: MaybeState): MaybeState {
    let state = next;
    for (let i = bytes.length; i-- > 0; )
      state = this.bytes([{ low: bytes[i]!, high: bytes[i]!, target: state }]);
    return state;
  }

  /** Any of the texts; common beginnings are read once. */
  texts(texts: readonly string[], next: MaybeState): MaybeState {
    const sorted = [...new Set(texts)].map((text) => Buffer.from(text)).sort(Buffer.compare);
    return sorted.length === 0 ? null : this.#textsFrom(sorted, 0, next);
  }

  /** What follows the first `at` bytes, which all of them share. */
  #textsFrom(sorted: readonly Buffer[], at: number, next: MaybeState): MaybeState {
    const [first, last] = [sorted[0]!, sorted.at(-1)!];
    let common = at;
    while (common < first.length && first[common] === last[common]) common++;
    const edges: ByteEdge[] = [];
    const ended = first.length === common ? 1 : 0;
    for (let i = ended; i < sorted.length; ) {
      const byte = sorted[i]![common]!;
      let end = i + 1;
      while (end < sorted.length && sorted[end]![common] === byte) end++;
      const target = this.#textsFrom(sorted.slice(i, end), common + 1, next);
      edges.push({ low: byte, high: byte, target });
      i = end;
    }
    const branches = this.split([ended ? next : null, this.bytes(edges)]);
    return this.#chain(first.subarray(at, common), branches);
  }

  /** A state to be defined later, for what refers to itself. */
  reserve(): State {
    return this.#add({ ...EMPTY, op: "split" });
  }
  define(reserved: State, target: MaybeState): void {
    const state = this.#states[reserved]!;
    invariant(state.op === "split" && state.edges.length === 0, "a state is defined twice");
    if (target !== null)
      this.#states[reserved] = { ...state, edges: [{ low: 0, high: 0, target }] };
  }

  /** Whether some text leads from a state to the end of its rule. */
  hasText(start: State): boolean {
    const users = this.#states.map((): State[] => []);
    for (const [s, state] of this.#states.entries()) {
      for (const { target } of state.edges) users[target]!.push(s);
      if (state.op !== "call" && state.op !== "repeat") continue;
      users[state.rule]!.push(s);
      users[state.next]!.push(s);
    }
    const ends = new Set<State>([this.leave]);
    const open: State[] = [this.leave];
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      for (const s of users[at]!) {
        const { op, rule, next, min } = this.#states[s]!;
        const whole = op === "call" || (op === "repeat" && min > 0);
        const out =
          op === "bytes" || op === "split" || (ends.has(next) && (!whole || ends.has(rule)));
        if (!out || ends.has(s)) continue;
        ends.add(s);
        open.push(s);
      }
    }
    return ends.has(start);
  }

  build(start: State): Uint8Array {
    const edges = this.#states.flatMap((state) => state.edges);
    const words = [MAGIC, this.#states.length, edges.length, start, LIMITS.stack_depth_max];
    let first = 0;
    for (const { op, rule, next, min, max, edges: own } of this.#states) {
      const reads = op === "bytes" || op === "split";
      words.push(OPS[op], reads ? first : rule, reads ? own.length : next, min, max);
      first += own.length;
    }
    for (const { low, high, target } of edges) words.push(low | (high << 8), target);
    const bytes = new Uint8Array(4 * words.length);
    const view = new DataView(bytes.buffer);
    for (const [i, word] of words.entries()) view.setUint32(4 * i, word, true);
    return bytes;
  }
}

const EMPTY: Omit<StateOf, "op"> = { rule: 0, next: 0, min: 0, max: 0, edges: [] };
