import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { MagnetError } from "../../src/core/errors.ts";
import type { Hash } from "../../src/core/types.ts";
import { TokenFile } from "../../src/model/token-file.ts";
import { memorySink, type TokenSink, TokenWriter } from "../../src/model/token-writer.ts";

let folder = "";
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-tokens-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const tokenizer_hash = "c".repeat(64) as Hash;

/** The bytes of a token file of these documents. */
async function fileOf(documents: number[][], vocab_size = 1000): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const sink: TokenSink = {
    append: async (bytes) => {
      parts.push(bytes.slice());
    },
    header: async (bytes) => {
      parts[0] = bytes.slice();
    },
  };
  const writer = await TokenWriter.start(sink, { vocab_size, tokenizer_hash });
  for (const document of documents) {
    writer.startDocument();
    await writer.add(Int32Array.from(document), 3 * document.length);
  }
  await writer.finish();
  return new Uint8Array(Buffer.concat(parts));
}

describe("a written token file", () => {
  test("reads back tokens and documents, for narrow and wide tokens", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.nat(65_535), { maxLength: 50 }), { maxLength: 20 }),
        fc.constantFrom(65_536, 65_537),
        async (documents, vocab_size) => {
          const file = await TokenFile.fromBytes("memory", await fileOf(documents, vocab_size));
          const all = documents.flat();
          expect(file.header).toMatchObject({
            token_bytes: vocab_size === 65_536 ? 2 : 4,
            vocab_size,
            document_count: documents.length,
            token_count: all.length,
            text_bytes: 3 * all.length,
            tokenizer_hash,
          });
          expect([...file.tokens(0, all.length)]).toEqual(all);
          const found = documents.map((_, i) => {
            const start = file.documentStart(i);
            return [...file.tokens(start, file.documentStart(i + 1) - start)];
          });
          expect(found).toEqual(documents);
        },
      ),
      { seed: 20_260_303, numRuns: 60 },
    );
  });

  test("larger than the buffers it is written with", async () => {
    const long = Array.from({ length: 600_001 }, (_, i) => (i * 7919) % 1000);
    const file = await TokenFile.fromBytes("memory", await fileOf([[1, 2], long, [3]]));
    expect(file.documentStart(2)).toBe(600_003);
    expect([...file.tokens(262_000, 600)]).toEqual(long.slice(261_998, 262_598));
    expect(() => file.tokens(600_000, 5)).toThrow("tokens outside the file");
  });

  test("more documents than a piece of their starts", async () => {
    const documents = Array.from({ length: 140_000 }, (_, i) => (i % 3 === 0 ? [i % 1000] : []));
    const file = await TokenFile.fromBytes("memory", await fileOf(documents));
    expect(file.header.document_count).toBe(140_000);
    for (const index of [0, 1, 65_535, 65_536, 131_072, 139_999, 140_000])
      expect(file.documentStart(index)).toBe(Math.ceil(index / 3));
  });

  test("opens from disk; equal content has an equal hash", async () => {
    const bytes = await fileOf([[5, 6, 7]]);
    const target = path.join(folder, "a.mgt");
    fs.writeFileSync(target, bytes);
    const file = await TokenFile.open(target);
    expect([...file.tokens(1, 2)]).toEqual([6, 7]);
    expect(() => file.tokens(2, 2)).toThrow("tokens outside the file");
    expect(file.content_hash).toBe((await TokenFile.fromBytes("b", bytes)).content_hash);
    expect(() => file.expectTokenizer("d".repeat(64) as Hash)).toThrow(
      expect.objectContaining({ code: "TOKENIZER_MISMATCH", exit: "verification" }),
    );
    file.expectTokenizer(tokenizer_hash);
    file.close();
  });

  test("in memory through the sink of the demo", async () => {
    const sink = memorySink();
    const writer = await TokenWriter.start(sink, { vocab_size: 10, tokenizer_hash });
    writer.startDocument();
    await writer.add(Int32Array.of(1, 2, 3), 3);
    await writer.finish();
    expect([...(await sink.open("memory")).tokens(0, 3)]).toEqual([1, 2, 3]);
  });
});

describe("damage", () => {
  const codeOf = async (bytes: Uint8Array): Promise<string> => {
    try {
      await TokenFile.fromBytes("file", bytes);
      return "none";
    } catch (error) {
      return error instanceof MagnetError ? error.code : `not a MagnetError: ${String(error)}`;
    }
  };

  test("every single flipped bit and every cut is found", async () => {
    const good = await fileOf([[1, 2, 3], [4]]);
    expect(await codeOf(good)).toBe("none");
    for (let at = 0; at < good.length; at++) {
      const bad = good.slice();
      bad[at]! ^= 1 << (at % 8);
      expect(await codeOf(bad)).toMatch(/^(TOKENS_CORRUPT|UNSUPPORTED)$/);
      expect(await codeOf(good.subarray(0, at))).toBe("TOKENS_CORRUPT");
    }
  });

  test("hostile headers claim what they like", async () => {
    const good = await fileOf([[1, 2, 3], [4]]);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(127), fc.nat(255)), { minLength: 1, maxLength: 12 }),
        async (changes) => {
          const bad = good.slice();
          for (const [at, value] of changes) bad[at] = value;
          expect(await codeOf(bad)).toMatch(/^(none|TOKENS_CORRUPT|UNSUPPORTED)$/);
        },
      ),
      { seed: 20_260_304, numRuns: 2000 },
    );
  });

  test("a file that is cut off while it is open", async () => {
    const target = path.join(folder, "cut.mgt");
    const long = Array.from({ length: 20_000 }, (_, i) => i % 1000);
    fs.writeFileSync(target, await fileOf([long]));
    const file = await TokenFile.open(target);
    fs.truncateSync(target, 5000);
    expect([...file.tokens(0, 100)]).toEqual(long.slice(0, 100));
    expect(() => file.tokens(19_000, 1000)).toThrow(
      expect.objectContaining({ code: "TOKENS_CORRUPT", exit: "verification" }),
    );
    expect(() => file.documentStart(0)).toThrow(
      expect.objectContaining({ code: "TOKENS_CORRUPT" }),
    );
    file.close();
  });

  test("a missing file, a folder and a text", async () => {
    const error = (target: string): Promise<MagnetError> =>
      TokenFile.open(target).then(
        () => expect.unreachable(),
        (e) => e,
      );
    expect((await error(path.join(folder, "none"))).code).toBe("NOT_FOUND");
    expect((await error(folder)).code).toBe("NOT_A_FILE");
    const text = path.join(folder, "text.mgt");
    fs.writeFileSync(text, "Call me Ishmael. ".repeat(100));
    expect(await error(text)).toMatchObject({
      code: "TOKENS_CORRUPT",
      message: expect.stringContaining(text),
      hint: expect.stringContaining("magnet data prepare"),
    });
  });
});
