/** Prices, quotes, and what a request to a sold route may use: all without a chain. */
import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { MAG } from "../../../src/chain/amounts.ts";
import { MagnetError } from "../../../src/core/errors.ts";
import { DEFAULT_PRICE, quote, readPriceList } from "../../../src/http/paid/prices.ts";
import { readerOf, SOLD_ROUTES } from "../../../src/http/paid/sold-routes.ts";
import { methodsOf } from "../../../src/http/serve/route-table.ts";
import { temporaryFolder } from "./paid-fixture.ts";

const file = path.join(temporaryFolder(), "prices.json");
const read = (text: string) => {
  fs.writeFileSync(file, text);
  return readPriceList(file, DEFAULT_PRICE);
};

describe("prices", () => {
  test("a quote counts the request, the tokens it may have, and every started KiB", () => {
    const list = read(`{"all": {"request": "0.5", "output_token": "0.01", "input_kib": "2"},
      "models": {"large": {"output_token": "1"}}}`);
    const usage = { model: "small", output_tokens: 30, input_bytes: 1025 };
    expect(quote(list, usage)).toBe((48n * MAG) / 10n); // 0.5 + 0.3 + 2 * 2
    expect(quote(list, { ...usage, model: "large" })).toBe((345n * MAG) / 10n);
    expect(quote(read("{}"), usage)).toBe(DEFAULT_PRICE.request);
    const free = { all: { request: 0n, output_token: 0n, input_kib: 0n }, models: new Map() };
    expect(quote(free, usage)).toBe(1n);
  });

  test("a list that is none is named with what is wrong", () => {
    for (const bad of ["", "[]", '{"all": 1}', '{"al": {}}', '{"all": {"request": 0.5}}']) {
      expect(() => read(bad)).toThrow(MagnetError);
      expect(() => read(bad)).toThrow("is no price list");
    }
    expect(() => read('{"all": {"request": "-1"}}')).toThrow("is no price list");
    expect(() => readPriceList("/nowhere", DEFAULT_PRICE)).toThrow("no such file");
  });
});

describe("orders", () => {
  const order = (route: string, body: Record<string, unknown>) => readerOf("POST", route)!(body);
  const chat = { model: "m", messages: [{ role: "user", content: "x" }] };

  test("every sold route is one of the server's, and only its POST is sold", () => {
    for (const route of SOLD_ROUTES) {
      expect(methodsOf(route)).toEqual(["POST"]);
      expect(readerOf("GET", route)).toBeUndefined();
    }
    for (const free of ["/v1/models", "/api/tags", "/api/show", "/x402", "/", "toString"])
      expect(readerOf("POST", free)).toBeUndefined();
  });

  test("a limit that is missing is written into the request, so that it holds", () => {
    expect(order("/v1/chat/completions", chat)).toMatchObject({
      ...{ choices: 1, max_tokens: 256, body: { max_completion_tokens: 256 } },
    });
    expect(order("/v1/chat/completions", { ...chat, n: 3, max_tokens: 7 })).toMatchObject({
      ...{ choices: 3, max_tokens: 7, body: { max_tokens: 7, max_completion_tokens: 7 } },
    });
    expect(order("/v1/completions", { model: "m", prompt: ["a", "b"], n: 2 })).toMatchObject({
      ...{ choices: 4, max_tokens: 16 },
    });
    expect(order("/api/chat", { ...chat, options: { seed: 1 } })).toMatchObject({
      ...{ max_tokens: 256, body: { options: { seed: 1, num_predict: 256 } } },
    });
    const asked = { model: "m", prompt: "x", options: { num_predict: 5 } };
    expect(order("/api/generate", asked)).toMatchObject({ choices: 1, max_tokens: 5, free: false });
    expect(order("/v1/embeddings", { model: "m", input: "x" })).toMatchObject({ choices: 0 });
  });

  test("asking Ollama's way whether a model is there costs nothing", () => {
    expect(order("/api/chat", { model: "m", messages: [] }).free).toBe(true);
    expect(order("/api/generate", { model: "m" }).free).toBe(true);
  });
});
