/**
 * Reads the subset of regular expressions that patterns may use: literals, escapes, classes, `.`,
 * groups, alternation and repeats (lazy ones too: they mean the same texts), and the anchors ^ and $ at
 * the ends of the whole pattern or of its outermost alternatives. As JavaScript reads them with the u
 * flag. Assertions, references and \p{...} are refused by name.
 */
import { CODE_POINT_MAX, complement, normalRanges, type Range } from "./characters.ts";
import { refuse } from "./errors.ts";
import { LIMITS } from "./limits.ts";

export type Regex =
  | { kind: "chars"; ranges: readonly Range[] }
  | { kind: "all"; parts: readonly Regex[] }
  | { kind: "any"; parts: readonly Regex[] }
  | { kind: "repeat"; part: Regex; min: number; max: number };

const DIGITS: readonly Range[] = [[0x30, 0x39]];
const WORD: readonly Range[] = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
/** White space and line ends, as JavaScript's \s. */
const SPACE: readonly Range[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINE_ENDS: readonly Range[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const CLASSES: Record<string, readonly Range[]> = {
  d: DIGITS,
  D: complement(DIGITS),
  w: WORD,
  W: complement(WORD),
  s: SPACE,
  S: complement(SPACE),
};
const CONTROLS: Record<string, number> = { t: 9, n: 10, v: 11, f: 12, r: 13, 0: 0 };
const SYNTAX = "^$\\.*+?()[]{}|/";
const ANY_TEXT: Regex = {
  kind: "repeat",
  part: { kind: "chars", ranges: [[0, CODE_POINT_MAX]] },
  min: 0,
  max: Number.POSITIVE_INFINITY,
};

class Reader {
  readonly #chars: readonly string[];
  readonly #pointer: string;
  #at = 0;
  #depth = 0;

  constructor(pattern: string, pointer: string) {
    this.#chars = [...pattern];
    this.#pointer = pointer;
  }

  #refuse(what: string): Error {
    return refuse(this.#pointer, `pattern: ${what} (character ${this.#at + 1})`, {
      hint: "patterns may use literals, classes, groups, | and repeats, and ^ $ at the ends",
    });
  }
  #peek(): string | undefined {
    return this.#chars[this.#at];
  }
  #take(char: string): boolean {
    if (this.#peek() !== char) return false;
    this.#at++;
    return true;
  }

  whole(): Regex {
    const parts: Regex[] = [];
    do {
      const from_start = this.#take("^");
      const sequence = this.#sequence(true);
      const to_end = this.#take("$");
      if (to_end && this.#peek() !== undefined && this.#peek() !== "|")
        throw this.#refuse("$ is supported at the end only");
      parts.push({
        kind: "all",
        parts: [...(from_start ? [] : [ANY_TEXT]), ...sequence, ...(to_end ? [] : [ANY_TEXT])],
      });
    } while (this.#take("|"));
    if (this.#at < this.#chars.length) throw this.#refuse(`unexpected ${this.#peek()}`);
    return { kind: "any", parts };
  }

  #sequence(outermost: boolean): Regex[] {
    const parts: Regex[] = [];
    for (let c = this.#peek(); c !== undefined && c !== "|" && c !== ")"; c = this.#peek()) {
      if (c === "$" && outermost) break;
      if (c === "^" || c === "$") throw this.#refuse(`${c} within the pattern is not supported`);
      parts.push(this.#repeated(this.#atom()));
    }
    return parts;
  }

  #atom(): Regex {
    const c = this.#chars[this.#at++]!;
    if (c === "(") return this.#group();
    if (c === "[") return { kind: "chars", ranges: this.#class() };
    if (c === ".") return { kind: "chars", ranges: complement(LINE_ENDS) };
    if (c === "\\") return { kind: "chars", ranges: this.#escape(false) };
    if ("*+?{".includes(c)) throw this.#refuse("nothing to repeat");
    if ("]}".includes(c)) throw this.#refuse(`a lone ${c}`);
    const code = c.codePointAt(0)!;
    return { kind: "chars", ranges: [[code, code]] };
  }

  #group(): Regex {
    if (++this.#depth > 50) throw this.#refuse("more than 50 groups within each other");
    if (this.#take("?") && !this.#take(":")) {
      const named = this.#peek() === "<" && !"=!".includes(this.#chars[this.#at + 1] ?? "=");
      if (!named) throw this.#refuse("assertions (?=, (?!, (?<=, (?<! are not supported");
      while (this.#peek() !== undefined && !this.#take(">")) this.#at++;
    }
    const parts: Regex[] = [];
    do parts.push({ kind: "all", parts: this.#sequence(false) });
    while (this.#take("|"));
    if (!this.#take(")")) throw this.#refuse("a group is not closed");
    this.#depth--;
    return { kind: "any", parts };
  }

  #number(): number | null {
    let digits = "";
    while (/^[0-9]$/.test(this.#peek() ?? "")) digits += this.#chars[this.#at++];
    return digits === "" ? null : Number(digits);
  }

  #repeated(part: Regex): Regex {
    let [min, max] = [1, 1];
    if (this.#take("*")) [min, max] = [0, Number.POSITIVE_INFINITY];
    else if (this.#take("+")) [min, max] = [1, Number.POSITIVE_INFINITY];
    else if (this.#take("?")) [min, max] = [0, 1];
    else if (this.#take("{")) {
      const low = this.#number();
      if (low === null) throw this.#refuse("{ begins no repeat");
      [min, max] = [low, low];
      if (this.#take(",")) max = this.#number() ?? Number.POSITIVE_INFINITY;
      if (!this.#take("}") || max < min) throw this.#refuse("a repeat is not of the form {n,m}");
      if (Math.max(min, max === Number.POSITIVE_INFINITY ? 0 : max) > LIMITS.pattern_states_max)
        throw this.#refuse(`a repeat above ${LIMITS.pattern_states_max}`);
    } else return part;
    this.#take("?");
    if ("*+?{".includes(this.#peek() ?? " ")) throw this.#refuse("a repeat of a repeat");
    return { kind: "repeat", part, min, max };
  }

  #hex(count: number): number {
    const text = this.#chars.slice(this.#at, this.#at + count).join("");
    if (!new RegExp(`^[0-9a-fA-F]{${count}}$`).test(text)) throw this.#refuse("a broken escape");
    this.#at += count;
    return Number.parseInt(text, 16);
  }

  #unicode(): number {
    if (this.#take("{")) {
      let text = "";
      while (/^[0-9a-fA-F]$/.test(this.#peek() ?? "")) text += this.#chars[this.#at++];
      const code = Number.parseInt(text, 16);
      if (!this.#take("}") || !(code <= CODE_POINT_MAX)) throw this.#refuse("a broken escape");
      return code;
    }
    const high = this.#hex(4);
    const paired = high >= 0xd800 && high <= 0xdbff && this.#peek() === "\\";
    if (!paired || this.#chars[this.#at + 1] !== "u") return high;
    this.#at += 2;
    const low = this.#hex(4);
    if (low < 0xdc00 || low > 0xdfff) throw this.#refuse("an unpaired surrogate");
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
  }

  #escape(in_class: boolean): readonly Range[] {
    const c = this.#chars[this.#at++];
    if (c === undefined) throw this.#refuse("a \\ at the end");
    const set = CLASSES[c];
    if (set) return set;
    let code = CONTROLS[c];
    if (c === "0" && /^[0-9]$/.test(this.#peek() ?? "")) code = undefined;
    if (c === "x") code = this.#hex(2);
    if (c === "u") code = this.#unicode();
    if (c === "c" && /^[a-zA-Z]$/.test(this.#peek() ?? ""))
      code = this.#chars[this.#at++]!.charCodeAt(0) % 32;
    if (SYNTAX.includes(c) || (in_class && c === "-")) code = c.codePointAt(0)!;
    if (in_class && c === "b") code = 8;
    if (code === undefined) throw this.#refuse(`\\${c} is not supported`);
    return [[code, code]];
  }

  #class(): Range[] {
    const negated = this.#take("^");
    const ranges: Range[] = [];
    const item = (): readonly Range[] => {
      const c = this.#chars[this.#at++];
      if (c === undefined) throw this.#refuse("a class is not closed");
      const code = c.codePointAt(0)!;
      return c === "\\" ? this.#escape(true) : [[code, code]];
    };
    while (!this.#take("]")) {
      const first = item();
      const range = this.#peek() === "-" && this.#chars[this.#at + 1] !== "]";
      if (!range) {
        ranges.push(...first);
        continue;
      }
      this.#at++;
      const last = item();
      const [low, high] = [first[0]!, last[0]!];
      if (first.length > 1 || last.length > 1 || low[0] !== low[1] || high[0] !== high[1])
        throw this.#refuse("a class as the end of a range");
      if (low[0] > high[0]) throw this.#refuse("a range in wrong order");
      ranges.push([low[0], high[0]]);
    }
    return negated ? complement(ranges) : normalRanges(ranges);
  }
}

/** What a whole string must be; ^ and $ left out allow anything before and after. */
export function parseRegex(pattern: string, pointer: string): Regex {
  if (Buffer.byteLength(pattern) > LIMITS.pattern_bytes_max)
    throw refuse(pointer, `pattern is longer than ${LIMITS.pattern_bytes_max} bytes`);
  return new Reader(pattern, pointer).whole();
}
