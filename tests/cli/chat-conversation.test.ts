/** The chat's parts without a model: which turns are sent, blocks of lines, commands, history. */
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { AnswerRequest, AnswerSource } from "../../src/cli/chat/answer-source.ts";
import { BlockInput } from "../../src/cli/chat/block-input.ts";
import { Conversation } from "../../src/cli/chat/conversation.ts";
import { LineHistory } from "../../src/cli/chat/history.ts";
import type { ChatSettings } from "../../src/cli/chat/settings.ts";
import { runSlash } from "../../src/cli/chat/slash.ts";
import { MagnetError } from "../../src/core/errors.ts";
import type { ChatMessage } from "../../src/model/chat-template.ts";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-chat-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => path.join(folder, name);

const SETTINGS: ChatSettings = {
  temperature: 0.8,
  top_k: 40,
  top_p: 0.95,
  min_p: 0,
  repetition_penalty: 1,
  seed: 7,
  max_tokens: 4,
  stop: [],
  rounding: "bitnet",
  complete: false,
};

const wordsOf = (messages: readonly ChatMessage[]) =>
  messages.reduce((sum, { content }) => sum + content.split(" ").length, 0);

/** Answers "re: QUESTION"; a token is a word; it counts them only where `counts`. */
function fakeSource(context: number, counts: boolean): AnswerSource & { asked: AnswerRequest[] } {
  const asked: AnswerRequest[] = [];
  return {
    asked,
    name: "fake",
    context: counts ? context : null,
    notes: [],
    count: (messages) => (counts ? wordsOf(messages) : null),
    async *answer(request) {
      asked.push(request);
      if (wordsOf(request.messages) > context - 1)
        throw new MagnetError("PROMPT_TOO_LONG", "the prompt has too many tokens");
      yield "re: ";
      if (request.signal.aborted) throw new MagnetError("CANCELLED", "stopped");
      yield request.messages.at(-1)!.content;
      return { finish_reason: "stop", prompt_tokens: null, completion_tokens: null };
    },
    close: async () => undefined,
  };
}

const never = new AbortController().signal;
const ask = (conversation: Conversation, question: string) =>
  conversation.ask(question, never, () => undefined);
const sentOf = (source: ReturnType<typeof fakeSource>) =>
  source.asked.at(-1)!.messages.map(({ content }) => content);

describe.each([true, false])("a context that fills up (tokens counted: %p)", (counts) => {
  test("loses the oldest turns, keeps the system text, and says how many", async () => {
    const source = fakeSource(24, counts);
    const conversation = new Conversation(source, SETTINGS);
    conversation.system = "be kind";
    const dropped: number[] = [];
    for (let i = 0; i < 12; i++)
      dropped.push((await ask(conversation, `question ${i}`)).dropped_turns);
    expect(dropped.reduce((sum, n) => sum + n)).toBeGreaterThan(5);
    expect(dropped.filter((n) => n > 0).length).toBeLessThan(7); // not one at every turn
    expect(sentOf(source)[0]).toBe("be kind");
    expect(sentOf(source).at(-1)).toBe("question 11");
    expect(sentOf(source).at(-2)).toBe("re: question 10");
    expect(conversation.messages()).toHaveLength(25); // nothing said is lost for /save
  });

  test("a question that fits no context is refused, and the conversation goes on", async () => {
    const source = fakeSource(24, counts);
    const conversation = new Conversation(source, SETTINGS);
    await ask(conversation, "short");
    const failure = ask(conversation, "far too long ".repeat(9).trim());
    await expect(failure).rejects.toThrow("too many tokens");
    await ask(conversation, "short again");
    expect(sentOf(source).at(-1)).toBe("short again");
  });
});

test("a stopped answer stays as far as it came", async () => {
  const source = fakeSource(100, true);
  const conversation = new Conversation(source, SETTINGS);
  const stop = new AbortController();
  const asked = conversation.ask("why", stop.signal, () => stop.abort());
  await expect(asked).rejects.toThrow("stopped");
  expect(conversation.messages().map(({ content }) => content)).toEqual(["why", "re: "]);
});

test("/regenerate asks the last question again with another seed", async () => {
  const source = fakeSource(100, true);
  const conversation = new Conversation(source, SETTINGS);
  expect(await conversation.regenerate(never, () => undefined)).toBeUndefined();
  await ask(conversation, "one");
  await ask(conversation, "two");
  await conversation.regenerate(never, () => undefined);
  await conversation.regenerate(never, () => undefined);
  expect(source.asked.map(({ settings }) => settings.seed)).toEqual([7, 7, 8, 9]);
  expect(sentOf(source)).toEqual(["one", "re: one", "two"]);
});

test("lines become messages", () => {
  const messagesOf = (...lines: string[]) => {
    const block = new BlockInput();
    const messages = lines.map((line) => block.push(line)).filter((m) => m !== undefined);
    return block.pending ? [...messages, `pending: ${block.take()}`] : messages;
  };
  expect(messagesOf("a", "b")).toEqual(["a", "b"]);
  expect(messagesOf('"""', "a", "", "b", '"""', "c")).toEqual(["a\n\nb", "c"]);
  expect(messagesOf('"""a"""')).toEqual(["a"]);
  expect(messagesOf('"""a', 'b"""')).toEqual(["a\nb"]);
  expect(messagesOf('say """ twice')).toEqual(['say """ twice']);
  expect(messagesOf("a\\", "b\\", "c")).toEqual(["a\nb\nc"]);
  expect(messagesOf('"""a\\', 'b"""')).toEqual(["a\\\nb"]);
  expect(messagesOf('"""a', "b")).toEqual(["pending: a\nb"]);
});

describe("commands", () => {
  const conversation = () => new Conversation(fakeSource(100, true), SETTINGS);
  const said = (line: string, on = conversation()) => runSlash(on, line).say;

  test("settings are changed within their limits", () => {
    const talk = conversation();
    expect(said("/set temperature 0.5", talk)).toBe("temperature is 0.5");
    expect(said("/set max-tokens 9", talk)).toBe("max-tokens is 9");
    expect(talk.settings).toMatchObject({ temperature: 0.5, max_tokens: 9 });
    expect(said("/set", talk)).toMatch(/^temperature +0\.5 /);
    for (const bad of ["temperature hot", "temperature -1", "top-k 1.5", "colour 3", "seed"])
      expect(said(`/set ${bad}`, talk)).toStartWith("BAD_SETTING: ");
    expect(talk.settings).toMatchObject({ temperature: 0.5, top_k: 40 });
  });

  test("what is saved can be loaded, and goes on", async () => {
    const talk = conversation();
    runSlash(talk, "/system be kind");
    await ask(talk, "one");
    expect(said(`/save ${at("talk.json")}`, talk)).toContain("3 messages");
    const again = conversation();
    expect(said(`/load ${at("talk.json")}`, again)).toContain("3 messages");
    expect(again.messages()).toEqual(talk.messages());
    await again.regenerate(never, () => undefined);
    expect(again.messages().at(-1)!.content).toBe("re: one");
  });

  test("a file of another kind is neither loaded nor replaced", () => {
    fs.writeFileSync(at("precious.txt"), "my novel");
    expect(said(`/save ${at("precious.txt")}`)).toStartWith("FILE_EXISTS: ");
    expect(said(`/load ${at("precious.txt")}`)).toStartWith("BAD_CONVERSATION: ");
    fs.writeFileSync(at("other.json"), '{"messages":[{"role":"root","content":1}]}');
    expect(said(`/load ${at("other.json")}`)).toStartWith("BAD_CONVERSATION: ");
    expect(said(`/load ${at("absent.json")}`)).toStartWith("NOT_FOUND: ");
    expect(said(`/load ${folder}`)).toStartWith("NOT_A_FILE: ");
    expect(said("/load")).toStartWith("MISSING_FILE: ");
    expect(said("/constructor")).toBe("there is no command /constructor; /help lists them");
  });
});

describe("history", () => {
  test("keeps the newest lines, whatever a full disk left in the file", () => {
    const warnings: string[] = [];
    const history = new LineHistory(at("history"), (text) => warnings.push(text));
    expect(history.load()).toEqual([]);
    history.add("one");
    fs.appendFileSync(at("history"), '"cut of');
    fs.appendFileSync(at("history"), "\n");
    history.add("two");
    history.add("x".repeat(5000));
    expect(history.load()).toEqual(["two", "one"]);
    const many = Array.from({ length: 2100 }, (_, i) => `${JSON.stringify(`line ${i}`)}\n`);
    fs.appendFileSync(at("history"), many.join(""));
    expect(history.load()).toHaveLength(1000);
    expect(history.load()[0]).toBe("line 2099");
    expect(fs.readFileSync(at("history"), "utf8").split("\n")).toHaveLength(1001);
    expect(warnings).toEqual([]);
  });

  test("a place that cannot be written costs one warning", () => {
    const warnings: string[] = [];
    fs.writeFileSync(at("file"), "");
    const history = new LineHistory(path.join(at("file"), "history"), (w) => warnings.push(w));
    for (const line of ["one", "two"]) history.add(line);
    expect(history.load()).toEqual([]);
    expect(warnings).toHaveLength(1);
  });
});
