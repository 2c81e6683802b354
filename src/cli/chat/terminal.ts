/**
 * A chat's input on a terminal: readline with its history, messages of several lines, and what
 * Ctrl-C means. In raw mode the terminal sends no signal; the key arrives here.
 */
import readline from "node:readline";
import { BlockInput } from "./block-input.ts";
import type { LineHistory } from "./history.ts";
import type { MessageInput } from "./message-input.ts";

const PROMPT = "> ";
const MORE = "… ";
const PASTE_ON = "\x1b[?2004h";
const PASTE_OFF = "\x1b[?2004l";
/** Lines in readline's own memory; the file keeps as many. */
const HISTORY_LINES = 1000;

interface Key {
  name?: string;
}

export class Terminal implements MessageInput {
  private readonly lines: readline.Interface;
  private readonly block = new BlockInput();
  /** Messages that were typed while an answer was running. */
  private readonly ready: string[] = [];
  private waiting: ((message: string | undefined) => void) | undefined;
  /** Who waits for the answer to a question of ours. */
  private asking: ((line: string) => void) | undefined;
  private pasting = false;
  private closed = false;
  private interrupted_once = false;
  private turn: AbortController | undefined;

  constructor(
    private readonly history: LineHistory | undefined,
    private readonly say: (text: string) => void,
  ) {
    const options = { input: process.stdin, output: process.stderr, terminal: true };
    const known = history === undefined ? {} : { history: history.load() };
    this.lines = readline.createInterface({ ...options, ...known, historySize: HISTORY_LINES });
    process.stderr.write(PASTE_ON);
    process.stdin.on("keypress", this.onKey);
    this.lines.on("line", (line) => this.onLine(line));
    this.lines.on("SIGINT", () => this.onInterrupt());
    this.lines.on("close", () => this.onClose());
  }

  /** The next message; undefined at the end of the input. */
  next(): Promise<string | undefined> {
    const message = this.ready.shift();
    if (message !== undefined || this.closed) return Promise.resolve(message);
    this.prompt();
    return new Promise((resolve) => {
      this.waiting = resolve;
    });
  }

  /** Asks something about the chat itself; "" where the input ended. */
  ask(question: string): Promise<string> {
    if (this.closed) return Promise.resolve("");
    this.lines.setPrompt(question);
    this.lines.prompt();
    return new Promise((resolve) => {
      this.asking = resolve;
    });
  }

  /** Whom Ctrl-C stops; undefined while nothing is running. */
  answering(turn: AbortController | undefined): void {
    this.turn = turn;
  }

  close(): void {
    if (!this.closed) this.lines.close();
  }

  private readonly onKey = (_: unknown, key: Key | undefined) => {
    if (key?.name === "paste-start") this.pasting = true;
    if (key?.name === "paste-end") this.pasting = false;
    if (key?.name !== "c") this.interrupted_once = false;
  };

  private onLine(line: string): void {
    if (this.asking !== undefined) {
      this.answer(line);
      return;
    }
    if (!this.pasting) this.history?.add(line);
    const message = this.block.push(line, this.pasting);
    if (message === undefined) this.prompt();
    else this.give(message);
  }

  private answer(line: string): void {
    const { asking } = this;
    this.asking = undefined;
    asking?.(line);
  }

  private onInterrupt(): void {
    this.answer("");
    if (this.turn !== undefined) {
      this.turn.abort();
      return;
    }
    const typed = this.lines.line !== "" || this.block.pending;
    if (!typed && this.interrupted_once) {
      this.lines.close();
      return;
    }
    this.block.clear();
    this.lines.write(null, { ctrl: true, name: "e" });
    this.lines.write(null, { ctrl: true, name: "u" });
    process.stderr.write("\n");
    if (!typed) this.say("(Ctrl-C once more, or /quit, to leave)");
    this.interrupted_once = !typed;
    this.prompt();
  }

  private onClose(): void {
    this.closed = true;
    process.stdin.off("keypress", this.onKey);
    process.stderr.write(`${PASTE_OFF}\n`);
    this.answer("");
    this.turn?.abort();
    this.waiting?.(undefined);
    this.waiting = undefined;
  }

  private give(message: string): void {
    const { waiting } = this;
    this.waiting = undefined;
    if (waiting === undefined) this.ready.push(message);
    else waiting(message);
  }

  private prompt(): void {
    this.lines.setPrompt(this.block.pending ? MORE : PROMPT);
    this.lines.prompt(true);
  }
}
