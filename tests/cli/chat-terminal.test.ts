/** `magnet chat` on a pseudo-terminal: keys, blocks, commands, and what Ctrl-C stops. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { PRESETS } from "../../src/model/config.ts";
import { randomModelFile } from "../../src/model/random-model.ts";
import { MAIN, makeHome } from "./magnet.ts";
import { type OnTerminal, onTerminal } from "./pseudo-terminal.ts";

const CTRL_C = "\x03";
const CTRL_D = "\x04";
const UP = "\x1b[A";
let home: string;
let model: string;
let open: OnTerminal[] = [];

/** A context that no answer of these tests fills: they end because they are stopped. */
beforeAll(async () => {
  home = makeHome();
  const config = { ...PRESETS.demo!, vocab_size: 2000, context: 100_000 };
  model = await randomModelFile({ config, folder: home });
});
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));
afterEach(() => {
  for (const terminal of open) terminal.kill();
  open = [];
});

async function start(...flags: string[]): Promise<OnTerminal> {
  const terminal = onTerminal([...MAIN.command, "chat", model, ...flags], { HOME: home });
  open.push(terminal);
  await terminal.see("> ");
  return terminal;
}

const SHORT = ["--max-tokens", "3"];
const historyFile = () => path.join(home, ".local/share/magnet/chat-history");

test("Ctrl-C stops the answer and not the program; the next question is answered", async () => {
  const chat = await start("--max-tokens", "90000");
  chat.type("tell me everything\r");
  await chat.see(/\n.{40}/s); // it is answering
  chat.type(CTRL_C);
  await chat.see("\n> ");
  chat.type("/set max_tokens 3\r");
  await chat.see("max_tokens is 3");
  chat.type("again\r");
  await chat.see("(cut off at the limit of tokens)");
  await chat.see("> ");
  chat.type("/stats\r");
  expect(await chat.see("used")).toMatch(/answer {4}3 tokens, .* tokens\/s, first token after/);
  chat.type("/quit\r");
  expect(await chat.exited).toBe(0);
}, 60_000);

describe("leaving", () => {
  test("Ctrl-C twice at an empty prompt", async () => {
    const chat = await start(...SHORT);
    chat.type("half a question");
    await chat.see("half a question");
    chat.type(CTRL_C);
    await chat.see("> ");
    chat.type(CTRL_C);
    await chat.see("once more");
    await chat.see("> ");
    chat.type(CTRL_C);
    expect(await chat.exited).toBe(0);
    expect(chat.shown()).not.toContain("cut off"); // the half question was never asked
    expect(chat.raw()).toEndWith("\x1b[?2004l\r\n"); // the terminal's paste mode is put back
  });

  test("a key between the two keeps the program", async () => {
    const chat = await start(...SHORT);
    chat.type(CTRL_C);
    await chat.see("once more");
    await chat.see("> ");
    chat.type("a question\r");
    await chat.see("cut off");
    await chat.see("> ");
    chat.type(CTRL_C);
    await chat.see("once more");
    await chat.see("> ");
    chat.type(CTRL_D);
    expect(await chat.exited).toBe(0);
  });
});

describe("several lines", () => {
  test("in quotes, by backslashes, and pasted at once, are one message each", async () => {
    const file = path.join(home, "said.json");
    const chat = await start(...SHORT);
    const messages = [
      ['"""one\r', "… ", 'two"""\r'],
      ["three\\\r", "… ", "four\r"],
      ["\x1b[200~five\rsix\x1b[201~", "six", "\r"],
    ] as const;
    for (const [first, wait, second] of messages) {
      chat.type(first);
      await chat.see(wait);
      chat.type(second);
      await chat.see("cut off");
      await chat.see("> ");
    }
    chat.type(`/save ${file}\r`);
    await chat.see("6 messages");
    chat.type("/quit\r");
    await chat.exited;
    const { messages: said } = JSON.parse(fs.readFileSync(file, "utf8"));
    const questions = said.filter(({ role }: { role: string }) => role === "user");
    expect(questions.map(({ content }: { content: string }) => content)).toEqual([
      "one\ntwo",
      "three\nfour",
      "five\nsix",
    ]);
    expect(fs.statSync(file).mode & 0o777).toBe(0o600);
  });
});

describe("history", () => {
  test("the up arrow finds the last chat's lines; the file is the owner's only", async () => {
    const before = await start(...SHORT);
    before.type("remember this\r");
    await before.see("cut off");
    before.type(CTRL_D);
    await before.exited;
    expect(fs.statSync(historyFile()).mode & 0o777).toBe(0o600);
    const after = await start(...SHORT);
    after.type(UP);
    await after.see("remember this");
  });

  test("--no-history neither reads nor writes it", async () => {
    fs.rmSync(historyFile(), { force: true });
    const chat = await start(...SHORT, "--no-history");
    chat.type("a secret\r");
    await chat.see("cut off");
    chat.type(CTRL_D);
    await chat.exited;
    expect(fs.existsSync(historyFile())).toBe(false);
  });
});
