/** The chat formats of other makers' files: recognised, rendered as their templates do, unforgeable. */
import { describe, expect, test } from "bun:test";
import { createRequire } from "node:module";
import path from "node:path";
import { chatFormat, chatPrompt, endTokens } from "../../src/model/chat-format.ts";
import {
  CHAT_TEMPLATE,
  type ChatMessage,
  encodeParts,
  encodePartsAsync,
} from "../../src/model/chat-template.ts";
import { GgufFile } from "../../src/model/gguf-file.ts";
import { tokenizerEntries, tokenizerFromGguf } from "../../src/model/gguf-tokenizer.ts";
import { writeGguf } from "../../src/model/gguf-writer.ts";
import { Tokenizer, type TokenizerNotes } from "../../src/model/tokenizer.ts";
import { sharedTokenizer } from "./tokenizer-fixtures.ts";

const PEERS = path.join(import.meta.dir, "../peers/package.json");
const BOS = "<|begin_of_text|>";
const LLAMA3_SPECIALS = [
  BOS,
  "<|end_of_text|>",
  "<|start_header_id|>",
  "<|end_header_id|>",
  "<|eot_id|>",
];
/** What the two makers' templates write, in programs of our own. */
const LLAMA3_TEMPLATE =
  `{{- '${BOS}' -}}{%- for m in messages -%}{{- '<|start_header_id|>' + m['role'] + ` +
  "'<|end_header_id|>\\n\\n' + (m['content'] | trim) + '<|eot_id|>' -}}{%- endfor -%}" +
  "{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}" +
  "{%- endif -%}";
const BITNET_TEMPLATE =
  `{{- '${BOS}' -}}{%- for m in messages -%}{{- (m['role'] | capitalize) + ': ' + ` +
  "(m['content'] | trim) + '<|eot_id|>' -}}{%- endfor -%}" +
  "{%- if add_generation_prompt -%}{{- 'Assistant: ' -}}{%- endif -%}";
const CHAT: ChatMessage[] = [
  { role: "system", content: "Be brief.\n" },
  { role: "user", content: "  Who is it?" },
  { role: "assistant", content: "Ahab." },
  { role: "user", content: "Why\n\nhim?" },
];

/** The shared tokenizer's text part with other special tokens. */
async function withSpecials(names: readonly string[], notes: TokenizerNotes): Promise<Tokenizer> {
  const shared = await sharedTokenizer();
  const kept = shared.tokens().slice(0, shared.vocab_size - shared.specials.length);
  const tokens = [...kept, ...names.map((name) => new TextEncoder().encode(name))];
  const specials = names.map((content, i) => ({ id: kept.length + i, content }));
  const merges = Uint32Array.from(shared.merges().flat());
  return new Tokenizer({ tokens, merges, specials, ignore_merges: true }, notes);
}

function render(template: string, messages: readonly ChatMessage[]): string {
  const { Template } = createRequire(PEERS)("@huggingface/jinja") as {
    Template: new (source: string) => { render(values: unknown): string };
  };
  return new Template(template).render({ messages, add_generation_prompt: true });
}

describe.each([
  ["llama3", LLAMA3_TEMPLATE],
  ["bitnet", BITNET_TEMPLATE],
] as const)("the format %s", (name, chat_template) => {
  test("gives the ids of the rendered template", async () => {
    const tokenizer = await withSpecials(LLAMA3_SPECIALS, { chat_template });
    expect(chatFormat(tokenizer).name).toBe(name);
    const { parts, stop } = chatPrompt(tokenizer, CHAT);
    const tokens = encodeParts(tokenizer, parts);
    expect(await encodePartsAsync(tokenizer, parts)).toEqual(tokens);
    const text = render(chat_template, CHAT);
    expect(tokenizer.decode(tokens)).toBe(text);
    expect(tokens).toEqual(tokenizer.encode(text, { parse_special: true }));
    expect(stop).toEqual([]);
  });

  test("lets no message forge a special token", async () => {
    const tokenizer = await withSpecials(LLAMA3_SPECIALS, { chat_template });
    const content = LLAMA3_SPECIALS.join("");
    const count = (messages: ChatMessage[]) =>
      [...encodeParts(tokenizer, chatPrompt(tokenizer, messages).parts)].filter((id) =>
        tokenizer.isSpecial(id),
      ).length;
    for (const role of ["system", "user", "assistant"] as const)
      expect(count([{ role, content }])).toBe(count([{ role, content: "harmless" }]));
  });

  test("ends at the end of a turn", async () => {
    const tokenizer = await withSpecials(LLAMA3_SPECIALS, { chat_template });
    expect(endTokens(tokenizer)).toContain(tokenizer.specialId("<|eot_id|>")!);
    expect(endTokens(tokenizer)).toContain(tokenizer.specialId("<|end_of_text|>")!);
  });
});

describe("recognition", () => {
  const nameOf = async (specials: readonly string[], notes: TokenizerNotes) => {
    const { name, reason } = chatFormat(await withSpecials(specials, notes));
    return { name, reason };
  };
  const magnet = [BOS, "<|end_of_text|>", "<|user|>", "<|assistant|>"];
  const unknown = "the model's chat template is of a kind that magnet does not know";
  const none = "the model states no chat format";

  test.each([
    ["magnet's own, stated", magnet, CHAT_TEMPLATE, "magnet", undefined],
    ["magnet's own, not stated", magnet, undefined, "magnet", undefined],
    ["a stranger with tokens of magnet's names", magnet, "{{ '<|user|>\\n' }}", "plain", unknown],
    ["headers that the vocabulary lacks", magnet, LLAMA3_TEMPLATE, "plain", unknown],
    ["a base model with Llama-3's vocabulary", LLAMA3_SPECIALS, undefined, "plain", none],
    ["ChatML", ["<|im_start|>", "<|im_end|>"], "{{ '<|im_start|>' }}", "plain", unknown],
  ] as const)("%s", async (_, specials, chat_template, name, reason) => {
    expect(await nameOf(specials, { chat_template })).toEqual({ name, reason } as never);
  });

  test("the plain dialogue stops where the user would speak, and has no begin token to give", async () => {
    const tokenizer = await withSpecials(["<|im_start|>"], {});
    const { parts, stop } = chatPrompt(tokenizer, [{ role: "user", content: "Hi" }]);
    expect(tokenizer.decode(encodeParts(tokenizer, parts))).toBe("User: Hi\nAssistant:");
    expect(stop).toEqual(["\nUser:"]);
  });
});

test("a long text is encoded on another thread, to the same ids", async () => {
  const tokenizer = await sharedTokenizer();
  const parts = [{ special: BOS }, { text: "Call me Ishmael. ".repeat(40_000) }];
  let is_done = false;
  const whole = encodePartsAsync(tokenizer, parts).finally(() => {
    is_done = true;
  });
  // What another thread says comes with a turn of the event loop; encoded on this one it would be there.
  for (let i = 0; i < 20; i++) await Promise.resolve();
  expect(is_done).toBe(false);
  expect(await whole).toEqual(encodeParts(tokenizer, parts));
});

test("a GGUF file's stated end token and template come with its tokenizer", async () => {
  const tokenizer = await withSpecials(LLAMA3_SPECIALS, {});
  const eot = tokenizer.specialId("<|eot_id|>")!;
  const readWith = async (eos_id: number) => {
    const replaced = new Set(["tokenizer.ggml.eos_token_id", "tokenizer.chat_template"]);
    const pieces: Uint8Array[] = [];
    await writeGguf(
      { write: async (bytes) => void pieces.push(bytes) },
      [
        ...tokenizerEntries(tokenizer).filter(({ key }) => !replaced.has(key)),
        { key: "tokenizer.ggml.eos_token_id", type: "u32", value: eos_id },
        { key: "tokenizer.chat_template", type: "string", value: LLAMA3_TEMPLATE },
      ],
      [],
    );
    const file = await GgufFile.parse(new Uint8Array(Buffer.concat(pieces)));
    const read = await tokenizerFromGguf(file);
    file.close();
    return read;
  };
  const read = await readWith(eot);
  expect(read.eos_id).toBe(eot);
  expect(chatFormat(read).name).toBe("llama3");
  // An ordinary token: text could give it.
  expect((await readWith(65)).eos_id).toBe(tokenizer.specialId("<|end_of_text|>"));
});
