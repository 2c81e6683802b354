/**
 * One JSON line too long to be held: finds the text field of its object while the bytes come, and
 * passes the text on in parts. What JSON.parse would refuse is refused here too (RFC 8259), and so
 * is a text field that appears twice. Memory stays bounded by what lies between two parts of the
 * text, whatever the line holds.
 */
import type { Splitter, TextPart } from "./text-parts.ts";

/** Deeper nesting is no document. */
const DEPTH_MAX = 256;
/** A key or number is compared only up to here; longer numbers are refused. */
const TOKEN_BYTES_MAX = 1024;
/** Text gathered before it is handed on. */
const TEXT_BYTES = 64 * 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_LIST, CLOSE_LIST] = [0x7b, 0x7d, 0x5b, 0x5d];
const [COMMA, COLON] = [0x2c, 0x3a];

/** What may come next. */
type Expect =
  | "value"
  | "value_or_end"
  | "key"
  | "key_or_end"
  | "colon"
  | "comma_or_end"
  | "nothing";

/** Bytes of a string or number, kept up to a limit. */
class Token {
  readonly #bytes = new Uint8Array(TOKEN_BYTES_MAX);
  length = 0;
  add(bytes: Uint8Array): void {
    const room = this.#bytes.length - this.length;
    if (room > 0)
      this.#bytes.set(bytes.subarray(0, room), Math.min(this.length, this.#bytes.length));
    this.length += bytes.length;
  }
  /** null where it was longer than the limit. */
  text(): string | null {
    if (this.length > this.#bytes.length) return null;
    return new TextDecoder().decode(this.#bytes.subarray(0, this.length));
  }
}

/** The text of the field, gathered into pieces for the splitter. */
class TextSink {
  readonly #buffer = new Uint8Array(TEXT_BYTES);
  #used = 0;
  readonly parts: TextPart[] = [];
  constructor(readonly splitter: Splitter) {}
  add(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const piece = bytes.subarray(done, done + TEXT_BYTES - this.#used);
      this.#buffer.set(piece, this.#used);
      this.#used += piece.length;
      done += piece.length;
      if (this.#used === TEXT_BYTES) this.flush();
    }
  }
  flush(): void {
    for (const part of this.splitter.push(this.#buffer.subarray(0, this.#used)))
      this.parts.push(part);
    this.#used = 0;
  }
  end(): void {
    this.flush();
    for (const part of this.splitter.finish()) this.parts.push(part);
  }
  take(): TextPart[] {
    return this.parts.splice(0);
  }
}

/** The problem with a line, without its place. */
export class LineProblem extends Error {}

export class LongJsonLine {
  readonly #stack: number[] = [];
  #expect: Expect = "value";
  /** Set while inside a string. */
  #string: { kind: "key" | "text" | "other"; escape: string | null; high: number } | null = null;
  #number: Token | null = null;
  #key = new Token();
  #found = false;
  readonly #sink: TextSink;
  readonly #encoder = new TextEncoder();
  #first = true;

  constructor(
    private readonly field: string,
    splitter: Splitter,
  ) {
    this.#sink = new TextSink(splitter);
  }

  /** The next bytes of the line. Throws LineProblem, and what the splitter throws. */
  push(bytes: Uint8Array): TextPart[] {
    let at = 0;
    if (this.#first && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) at = 3;
    this.#first = false;
    while (at < bytes.length)
      at = this.#string ? this.#inString(bytes, at) : this.#outside(bytes, at);
    return this.#sink.take();
  }

  /** The end of the line. */
  finish(): TextPart[] {
    if (this.#string) throw new LineProblem("not JSON: a string has no end");
    this.#endNumber();
    if (this.#stack.length > 0 || this.#expect !== "nothing")
      throw new LineProblem("not JSON: it ends too early");
    if (!this.#found) throw this.#noField();
    return this.#sink.take();
  }

  #noField = () => new LineProblem(`no string field "${this.field}"`);

  #outside(bytes: Uint8Array, at: number): number {
    const byte = bytes[at]!;
    if (this.#number) {
      let end = at;
      while (end < bytes.length && isNumberByte(bytes[end]!)) end++;
      this.#number.add(bytes.subarray(at, end));
      if (end < bytes.length) this.#endNumber();
      return end;
    }
    if (byte === 0x20 || byte === 0x09 || byte === 0x0d) return at + 1;
    if (byte === QUOTE) this.#startString();
    else if (byte === OPEN_OBJECT || byte === OPEN_LIST) this.#open(byte);
    else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) this.#close(byte);
    else if (byte === COMMA) this.#comma();
    else if (byte === COLON && this.#expect === "colon") this.#expect = "value";
    else if (isNumberByte(byte) && this.#mayStartValue()) {
      this.#startValue(false);
      this.#number = new Token();
      return at;
    } else throw new LineProblem("not JSON");
    return at + 1;
  }

  /** Also true, false and null: letters, digits and signs up to the next other byte. */
  #endNumber(): void {
    const token = this.#number;
    if (!token) return;
    this.#number = null;
    const text = token.text();
    if (text === null || !/^(-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?|true|false|null)$/.test(text))
      throw new LineProblem("not JSON");
  }

  #mayStartValue(): boolean {
    return this.#expect === "value" || this.#expect === "value_or_end";
  }

  /** A value begins: of the wanted field it must be a string. */
  #startValue(is_string: boolean): boolean {
    if (!this.#mayStartValue()) throw new LineProblem("not JSON");
    if (this.#stack.length === 0) throw this.#noField(); // the line is no object
    this.#expect = "comma_or_end";
    const wanted =
      this.#stack.length === 1 && this.#stack[0] === OPEN_OBJECT && this.#key.text() === this.field;
    if (!wanted) return false;
    if (!is_string) throw this.#noField();
    if (this.#found) throw new LineProblem(`the field "${this.field}" appears twice`);
    this.#found = true;
    return true;
  }

  #startString(): void {
    if (this.#expect === "key" || this.#expect === "key_or_end") {
      this.#key = new Token();
      this.#string = { kind: "key", escape: null, high: 0 };
      this.#expect = "colon";
      return;
    }
    const kind = this.#startValue(true) ? "text" : "other";
    this.#string = { kind, escape: null, high: 0 };
  }

  #open(byte: number): void {
    if (this.#stack.length > 0) this.#startValue(false);
    else if (this.#expect !== "value") throw new LineProblem("not JSON");
    else if (byte !== OPEN_OBJECT) throw this.#noField();
    if (this.#stack.length >= DEPTH_MAX)
      throw new LineProblem(`nested deeper than ${DEPTH_MAX} levels`);
    this.#stack.push(byte);
    this.#expect = byte === OPEN_OBJECT ? "key_or_end" : "value_or_end";
  }

  #close(byte: number): void {
    const opened = byte === CLOSE_OBJECT ? OPEN_OBJECT : OPEN_LIST;
    const empty = byte === CLOSE_OBJECT ? "key_or_end" : "value_or_end";
    const fits = this.#expect === "comma_or_end" || this.#expect === empty;
    if (this.#stack.pop() !== opened || !fits) throw new LineProblem("not JSON");
    this.#expect = this.#stack.length === 0 ? "nothing" : "comma_or_end";
  }

  #comma(): void {
    if (this.#expect !== "comma_or_end") throw new LineProblem("not JSON");
    this.#expect = this.#stack.at(-1) === OPEN_OBJECT ? "key" : "value";
  }

  #inString(bytes: Uint8Array, at: number): number {
    const string = this.#string!;
    if (string.escape !== null) return this.#inEscape(bytes, at);
    let end = at;
    for (; end < bytes.length; end++) {
      const byte = bytes[end]!;
      if (byte === QUOTE || byte === BACKSLASH) break;
      if (byte < 0x20) throw new LineProblem("not JSON: a control character in a string");
    }
    if (end > at) this.#emit(bytes.subarray(at, end));
    if (end === bytes.length) return end;
    if (bytes[end] === BACKSLASH) string.escape = "";
    else this.#endString();
    return end + 1;
  }

  #endString(): void {
    this.#endSurrogate();
    if (this.#string!.kind === "text") this.#sink.end();
    this.#string = null;
  }

  #inEscape(bytes: Uint8Array, at: number): number {
    const string = this.#string!;
    const code = string.escape + String.fromCharCode(bytes[at]!);
    const plain = ESCAPES.get(code);
    string.escape = code;
    if (plain !== undefined) {
      string.escape = null;
      this.#emit(Uint8Array.of(plain));
    } else if (!/^u[0-9a-fA-F]{0,4}$/.test(code)) {
      throw new LineProblem("not JSON: a bad escape");
    } else if (code.length === 5) {
      string.escape = null;
      this.#emitUnit(Number.parseInt(code.slice(1), 16));
    }
    return at + 1;
  }

  /** A code unit of an escape; half a surrogate pair becomes U+FFFD, as in JSON.parse's text. */
  #emitUnit(unit: number): void {
    const string = this.#string!;
    if (string.high !== 0 && unit >= 0xdc00 && unit < 0xe000) {
      const pair = String.fromCharCode(string.high, unit);
      string.high = 0;
      this.#emit(this.#encoder.encode(pair));
      return;
    }
    this.#endSurrogate();
    if (unit >= 0xd800 && unit < 0xdc00) string.high = unit;
    else this.#emit(this.#encoder.encode(String.fromCharCode(unit)));
  }

  #endSurrogate(): void {
    const string = this.#string!;
    if (string.high === 0) return;
    string.high = 0;
    this.#emit(this.#encoder.encode("\ufffd"));
  }

  #emit(bytes: Uint8Array): void {
    const string = this.#string!;
    if (string.high !== 0) this.#endSurrogate();
    if (string.kind === "text") this.#sink.add(bytes);
    else if (string.kind === "key") this.#key.add(bytes);
  }
}

const ESCAPES = new Map(
  [...'"\\/bfnrt'].map((c, i) => [c, [0x22, 0x5c, 0x2f, 0x08, 0x0c, 0x0a, 0x0d, 0x09][i]!]),
);

/** Bytes of numbers and of true, false, null. */
const isNumberByte = (byte: number) =>
  (byte >= 0x30 && byte <= 0x39) ||
  (byte >= 0x61 && byte <= 0x7a) ||
  byte === 0x2d ||
  byte === 0x2b ||
  byte === 0x2e ||
  byte === 0x45;
