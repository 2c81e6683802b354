/**
 * The proof on real text (see README.md): fetches the text, runs every row that has no result yet,
 * and writes docs/proof.json, docs/proof.md and docs/proof-loss.svg. Stop it at any time; the next
 * call goes on. Results stay until --again names their rows, whatever changed since.
 */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { runAlignRow } from "./align-row.ts";
import { type ProofContext, readJson, Stopped, writeWhole } from "./context.ts";
import { type Corpus, makeCorpus } from "./corpus.ts";
import { runGenkidamaRow } from "./genkidama-row.ts";
import { type StoredRow, writeReport } from "./report.ts";
import { ROWS, type Row } from "./rows.ts";
import { runTrainRow } from "./train-row.ts";

const REPOSITORY = path.join(import.meta.dir, "../../..");
const USAGE = `usage: proof.sh [--only TEXT] [--again TEXT] [--report] [--list] [--dir DIR]
                [--magnet FILE --commit HASH] [--threads N]
  --only    rows whose name contains TEXT      --again   forget such rows' results and runs first
  --report  write the report and end           --list    show the rows and which are done
  --dir     cache folder (default ~/.cache/magnet-proof): 0.5 GiB, 40 GiB during genkidama-618m
  --magnet  executable (default dist/magnet), built from the commit --commit (default HEAD)
`;

function options() {
  const { values } = parseArgs({
    options: {
      only: { type: "string", default: "" },
      again: { type: "string" },
      report: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
      dir: { type: "string" },
      magnet: { type: "string", default: path.join(REPOSITORY, "dist/magnet") },
      commit: { type: "string" },
      threads: { type: "string", default: "0" },
    },
  });
  const cache = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), ".cache");
  return { ...values, dir: path.resolve(values.dir ?? path.join(cache, "magnet-proof")) };
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
const resultFile = (dir: string, row: Row) => path.join(dir, "results", `${row.name}.json`);

function corpusOf(dir: string): Corpus {
  const file = path.join(dir, "corpus.json");
  const known = readJson<Corpus>(file);
  if (known !== null) return known;
  say("fetching and reading the packages");
  const corpus = makeCorpus(dir);
  writeWhole(file, JSON.stringify(corpus, null, 1));
  return corpus;
}

function forget(dir: string, text: string): void {
  for (const row of ROWS.filter(({ name }) => name.includes(text))) {
    fs.rmSync(resultFile(dir, row), { force: true });
    fs.rmSync(path.join(dir, "runs", row.name), { recursive: true, force: true });
    fs.rmSync(path.join(dir, "runs", `${row.name}.usage.json`), { force: true });
  }
}

function runRow(context: ProofContext, row: Row): Promise<object> {
  if (row.kind === "train") return runTrainRow(context, row);
  return row.kind === "genkidama" ? runGenkidamaRow(context) : runAlignRow(context);
}

const stored = (dir: string) =>
  ROWS.flatMap((row) => {
    const result = readJson<StoredRow>(resultFile(dir, row));
    return result === null ? [] : [result];
  });

const STALE = " WITH OTHER SETTINGS; --again runs it anew";
/** Whether a result is of settings that this row no longer has. */
function isStale(row: Row, known: StoredRow): boolean {
  if (row.kind !== "train" || known.kind !== "train") return false;
  return !Bun.deepEquals([row.flags, row.model], [known.settings, known.model]);
}

async function runRows(context: ProofContext, rows: Row[], corpus: Corpus): Promise<void> {
  for (const row of rows) {
    const file = resultFile(context.dir, row);
    const known = readJson<StoredRow>(file);
    if (known !== null) {
      context.log(`${row.name}: done before${isStale(row, known) ? STALE : ""}`);
      continue;
    }
    context.log(`${row.name}: ${new Date().toISOString()}`);
    const result = await runRow(context, row);
    const { kind, name } = row;
    const commit = context.commit;
    writeWhole(file, `${JSON.stringify({ name, kind, commit, ...result }, null, 1)}\n`);
    writeReport(REPOSITORY, corpus, stored(context.dir));
  }
}

async function main(): Promise<void> {
  const given = options();
  if (given.help) return say(USAGE);
  const head = () => execFileSync("git", ["rev-parse", "HEAD"], { cwd: REPOSITORY }).toString();
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort());
  const { dir, threads } = given;
  const context: ProofContext = {
    ...{ dir, magnet: path.resolve(given.magnet), threads: Number(threads) },
    commit: (given.commit ?? head()).trim(),
    signal: stop.signal,
    log: say,
  };
  if (given.again !== undefined) forget(dir, given.again);
  const rows = ROWS.filter(({ name }) => name.includes(given.only));
  if (given.list) {
    const state = (row: Row) => (fs.existsSync(resultFile(dir, row)) ? "done" : "-");
    return say(rows.map((row) => `${row.name.padEnd(28)} ${state(row)}`).join("\n"));
  }
  const corpus = corpusOf(dir);
  if (!given.report) await runRows(context, rows, corpus);
  writeReport(REPOSITORY, corpus, stored(dir));
}

main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = error instanceof Stopped ? 130 : 1;
});
