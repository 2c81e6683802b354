/** What `magnet serve` says once it answers: for people in lines, for scripts as one document. */
import { formatBytes } from "../../core/bytes.ts";
import type { PaidOffer } from "../../http/paid/open-paid.ts";
import { priceDocument, priceText } from "../../http/paid/prices.ts";
import type { ServedModel } from "../../http/serve/served-model.ts";
import { BLOCK_TOKENS } from "../../model/engine/block-store.ts";
import { kvTokenBytes } from "../../model/engine/native-backend.ts";
import type { ChosenDevice } from "../../native/device.ts";
import { cpuInfo } from "../../native/library.ts";

export interface ServeFacts {
  url: string;
  models: readonly ServedModel[];
  keys: number;
  device: ChosenDevice;
  threads: number;
  /** What computes. */
  engine: string;
  /** What is sold, and where to; undefined where nothing is. */
  paid: PaidOffer | undefined;
}

const millions = (count: number) =>
  count >= 1e9 ? `${(count / 1e9).toFixed(2)}B` : `${(count / 1e6).toFixed(1)}M`;

const kvTokens = (model: ServedModel) => model.stats().blocks_total * BLOCK_TOKENS;

/** The document magnet.serve/1. */
export function serveDocument(facts: ServeFacts): object {
  const { url, models, keys, device, threads, engine, paid } = facts;
  return {
    url,
    ...(paid === undefined ? {} : { paid: paidDocument(paid) }),
    openai_url: `${url}/v1`,
    ollama_url: url,
    models: models.map((model) => ({
      id: model.id,
      format: model.format,
      size_bytes: model.size_bytes,
      parameters: model.parameters,
      context: model.context,
      kv_tokens: kvTokens(model),
      kv_bytes: kvTokens(model) * kvTokenBytes(model.config),
      chat_format: model.has_chat_format,
    })),
    api_keys: keys,
    resident_bytes: process.memoryUsage.rss(),
    engine,
    device: device.text,
    cpu_path: cpuInfo().path,
    threads,
    pid: process.pid,
  };
}

const paidDocument = ({ till, prices }: PaidOffer) => ({
  network: `eip155:${till.chain_id}`,
  asset: till.asset,
  pay_to: till.pay_to,
  server: till.server,
  price: priceDocument(prices.all),
});

function modelLine(model: ServedModel): string {
  const parameters = `${millions(model.parameters)} parameters`;
  const chat = model.has_chat_format ? "" : ", no chat format: asked as a plain dialogue";
  return `${model.id}: ${model.format}, ${formatBytes(model.size_bytes)}, ${parameters}, context ${model.context}${chat}`;
}

/** Keys and values take their memory when they are first used. */
function kvLine(model: ServedModel): string {
  const tokens = kvTokens(model);
  return `${formatBytes(tokens * kvTokenBytes(model.config))} for keys and values of ${tokens} tokens`;
}

/** A request that can be pasted into a shell. */
function exampleOf({ url, models, keys }: ServeFacts): string {
  const key = keys > 0 ? ` -H "authorization: Bearer $KEY"` : "";
  const body = { model: models[0]!.id, messages: [{ role: "user", content: "Hello" }] };
  return `curl ${url}/v1/chat/completions${key} -H 'content-type: application/json' -d '${JSON.stringify(body)}'`;
}

function keyLine(keys: number, paid: boolean): string {
  if (keys === 0) return paid ? "none: everyone pays" : "none needed";
  if (paid) return `${keys} known, which pay nothing; others pay`;
  return `needed (${keys} known): authorization: Bearer KEY`;
}

const paidRows = ({ till, prices }: PaidOffer): [string, string][] => [
  ["price", priceText(prices.all)],
  ["till", `${till.pay_to} on eip155:${till.chain_id}, token ${till.asset}`],
];

function computingRow({ device, engine, threads }: ServeFacts): [string, string] {
  if (device.gpu) return ["gpu", `${device.text}, ${formatBytes(device.gpu.memory_bytes)}`];
  return ["cpu", `${engine === "magnet" ? cpuInfo().path : engine}, ${threads} threads`];
}

export function serveBanner(facts: ServeFacts): string {
  const { url, models, keys, paid } = facts;
  const rows: [string, string][] = [
    ...models.flatMap((model): [string, string][] => [
      ["model", modelLine(model)],
      ["", kvLine(model)],
    ]),
    ["memory", `${formatBytes(process.memoryUsage.rss())} now`],
    computingRow(facts),
    ["openai", `${url}/v1`],
    ["ollama", url],
    ["metrics", `${url}/metrics`],
    ["key", keyLine(keys, paid !== undefined)],
    ...(paid === undefined ? [] : paidRows(paid)),
    ["try", exampleOf(facts)],
  ];
  return [...rows.map(([name, value]) => `${name.padEnd(9)} ${value}`), "ready"].join("\n");
}
