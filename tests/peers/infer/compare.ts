/**
 * llama.cpp against magnet on one file (started by ../infer.sh): every engine, thread count and CPU
 * path in turns, several rounds, so that a disturbance meets all of them; the best of each counts.
 * llama.cpp runs with flash attention off and on, and the better of the two counts for each work.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { table } from "../../../src/cli/frame/output.ts";
import { machineOf } from "../../../src/core/bench-report.ts";
import { resolveModelConfig } from "../../../src/model/config.ts";
import { randomModelFile } from "../../../src/model/random-model.ts";
import { type Goal, goalRows } from "./goals.ts";
import { backendsFolder, type LlamaCpp, llamaBench, llamaCpp } from "./llama-cpp.ts";

const root = path.join(import.meta.dir, "../../..");
const HELP = `usage: infer.sh [--preset genkidama-618m | --model FILE] [--matrices TQ2_0|TQ1_0]
                [--embedding Q6_K|F16] [--paths auto,avx2] [--threads 1,2] [--rounds 3]
                [--repeats 2] [--decode 128] [--parallel 4] [--engines llama.cpp,magnet]
                [--json FILE]
A preset gets random weights. paths: auto is the best of the CPU for both; avx2 holds magnet to AVX2
by MAGNET_CPU and llama.cpp to its library for Haswell. decode: tokens after a prompt of 128;
parallel: sequences decoded in one batch. Other work on the machine lowers every figure.`;

const WORKS = ["decode", "prefill_128", "prefill_512", "parallel"] as const;
export type Work = (typeof WORKS)[number];
/** One engine with one thread count and path: tokens per second, the best over the rounds. */
export interface Row extends Record<Work, number> {
  engine: "llama.cpp" | "magnet";
  threads: number;
  path: string;
  /** Bytes that decoding reads in a second over what the machine reads; magnet only. */
  read_share: number | null;
  read_gbps: number | null;
  load_ms: number | null;
  /** Resident memory that the model adds, over the file's size; magnet only. */
  resident_share: number | null;
  /** Time to the first token of a prompt of 128 over that of the bare forward pass; magnet only. */
  first_token: number | null;
}
const UNKNOWN = {
  read_share: null,
  read_gbps: null,
  load_ms: null,
  resident_share: null,
  first_token: null,
};

const { values } = parseArgs({
  options: {
    preset: { type: "string", default: "genkidama-618m" },
    model: { type: "string" },
    matrices: { type: "string", default: "TQ2_0" },
    embedding: { type: "string", default: "Q6_K" },
    paths: { type: "string", default: "auto,avx2" },
    threads: { type: "string", default: "1,2" },
    rounds: { type: "string", default: "3" },
    repeats: { type: "string", default: "2" },
    decode: { type: "string", default: "128" },
    parallel: { type: "string", default: "4" },
    engines: { type: "string", default: "llama.cpp,magnet" },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
type Isa = "auto" | "avx2";

/** The one line of JSON that a program prints. */
async function runJson(command: string[], env: Record<string, string> = {}) {
  const child = Bun.spawn(command, {
    cwd: root,
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}\n${stderr}${stdout}`);
  return JSON.parse(stdout) as unknown;
}

async function runLlama(llama: LlamaCpp, file: string, threads: number, isa: Isa): Promise<Row> {
  const bench = await llamaBench(llama);
  const backends = backendsFolder(llama, isa);
  const runs: Record<Work, number>[] = [];
  for (const flash of ["0", "1"])
    runs.push(
      (await runJson([
        ...[bench, backends, file, String(threads), flash, "1"],
        ...[values.repeats, values.decode, values.parallel],
      ])) as Record<Work, number>,
    );
  const best = (work: Work) => Math.max(...runs.map((r) => r[work]));
  const figures = Object.fromEntries(WORKS.map((work) => [work, best(work)]));
  const row = { engine: "llama.cpp", threads, path: isa, ...UNKNOWN, ...figures };
  return row as Row;
}

interface MagnetReport {
  machine: { path: string; limits: { read_gbps: number } };
  bytes_per_token: number;
  results: { name: string; value: number; ratio: number | null }[];
}

/** `magnet bench infer`: through the engine, scheduling and sampling included. */
async function runMagnet(file: string, threads: number, isa: Isa): Promise<Row> {
  const env: Record<string, string> = isa === "avx2" ? { MAGNET_CPU: "avx2" } : {};
  const { repeats, decode, parallel } = values;
  const flags = ["--threads", threads, "--repeat", repeats, "--decode", decode].map(String);
  const command = [process.execPath, path.join(root, "src/main.ts"), "bench", "infer", "--json"];
  const report = (await runJson(
    [...command, "--quiet", "--model", file, ...flags, "--parallel", parallel],
    env,
  )) as MagnetReport;
  const result = (name: string) => report.results.find((r) => r.name === name);
  const at = (name: string) => result(name)?.value ?? 0;
  const { read_gbps } = report.machine.limits;
  const decoded = at("decode_tokens_per_s");
  return {
    ...{ engine: "magnet", threads, path: isa, read_gbps },
    decode: decoded,
    prefill_128: at("prefill_tokens_per_s"),
    prefill_512: at("prefill_512_tokens_per_s"),
    parallel: at("parallel_tokens_per_s"),
    read_share: (decoded * report.bytes_per_token) / (read_gbps * 1e9),
    load_ms: at("load_ms"),
    resident_share: at("resident_mib") / (fs.statSync(file).size / 2 ** 20),
    first_token: result("first_token_ms")?.ratio ?? null,
  };
}

/** The better of two runs of one kind, figure by figure. */
function bestOf(a: Row, b: Row): Row {
  const better: Row = { ...a };
  for (const key of [...WORKS, "read_share", "read_gbps"] as const)
    if ((b[key] ?? 0) > (a[key] ?? 0)) Object.assign(better, { [key]: b[key] });
  for (const key of ["load_ms", "resident_share", "first_token"] as const)
    if (a[key] !== null && b[key] !== null) better[key] = Math.min(a[key], b[key]);
  return better;
}

async function measure(llama: LlamaCpp, file: string): Promise<Row[]> {
  const rows = new Map<string, Row>();
  const engines = values.engines.split(",");
  for (let round = 1; round <= Number(values.rounds); round++)
    for (const isa of values.paths.split(",") as Isa[])
      for (const threads of values.threads.split(",").map(Number))
        for (const engine of engines) {
          const row =
            engine === "magnet"
              ? await runMagnet(file, threads, isa)
              : await runLlama(llama, file, threads, isa);
          const key = `${engine} ${isa} ${threads}`;
          const before = rows.get(key);
          rows.set(key, before === undefined ? row : bestOf(before, row));
          const shown = WORKS.map((work) => `${work} ${row[work].toFixed(1)}`).join(", ");
          process.stderr.write(`round ${round}: ${key}: ${shown}\n`);
        }
  // As they are read: llama.cpp above magnet, path by path.
  return [...rows.values()];
}

const percent = (share: number | null) => (share === null ? "" : `${(100 * share).toFixed(0)}%`);

function report(rows: readonly Row[], goals: readonly Goal[]): string {
  const speeds = rows.map((r) => [
    r.engine,
    r.path,
    r.threads,
    ...WORKS.map((work) => (r[work] === 0 ? "" : r[work].toFixed(1))),
    percent(r.read_share),
    r.read_gbps?.toFixed(1) ?? "",
    r.load_ms?.toFixed(0) ?? "",
  ]);
  const head = ["engine", "path", "threads", ...WORKS, "of read", "GB/s", "load ms"];
  const reached = goals.map((g) => [
    g.goal,
    g.path,
    g.value === null ? "not measured" : g.value.toFixed(2),
    g.wanted,
    g.value === null ? "" : g.reached ? "reached" : "MISSED",
  ]);
  const goalHead = ["goal", "path", "value", "wanted", ""];
  return `tokens per second\n${table(head, speeds)}\n\n${table(goalHead, reached)}\n`;
}

/** The named file, or one with random weights. */
async function modelFile(): Promise<string> {
  if (values.model !== undefined) return path.resolve(values.model);
  return randomModelFile({
    config: resolveModelConfig(values.preset),
    matrices: values.matrices as "TQ2_0",
    embedding: values.embedding as "Q6_K",
    folder: path.join(os.tmpdir(), `magnet-models-${process.getuid?.() ?? 0}`),
  });
}

if (import.meta.main) {
  if (values.help) {
    process.stdout.write(`${HELP}\n`);
    process.exit(0);
  }
  const llama = await llamaCpp();
  const file = await modelFile();
  const machine = machineOf();
  const rows = await measure(llama, file);
  const goals = goalRows(rows);
  const document = { schema: "magnet.peers.infer/1", machine, llama_cpp: llama.version, file };
  if (values.json !== undefined)
    fs.writeFileSync(values.json, `${JSON.stringify({ ...document, rows, goals }, null, 2)}\n`);
  process.stdout.write(`llama.cpp ${llama.version}, ${String(machine.cpu)}, ${file}\n`);
  process.stdout.write(report(rows, goals));
}
