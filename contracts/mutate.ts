/**
 * Are the attacks' tests worth anything? Each mutant (contracts/mutants.ts) weakens one contract in one
 * place; the test of the attack that this opens must then fail.
 *
 *   bun contracts/mutate.ts                all of them, some seconds each
 *   bun contracts/mutate.ts TEXT ...       those whose attack or weakness holds one of these
 *
 * Works on a copy in a temporary folder; of the repository only build/forge is written (the compiled
 * originals, which the copies start from).
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { writeToDescriptor } from "../src/core/stdio.ts";
import { forge, ROOT } from "./forge.ts";
import { MUTANTS, type Mutant } from "./mutants.ts";

export interface Verdict {
  killed: boolean;
  /** What the test said, or why the mutant is none. */
  reason: string;
}

const sourceOf = (root: string, { file }: Mutant) => path.join(root, "contracts/src", file);

/** The mutated text. Throws where an edit does not fit exactly once: the list is then stale. */
export function mutate(text: string, { weakness, file, edits }: Mutant): string {
  let mutated = text;
  for (const [find, replace] of edits) {
    const parts = mutated.split(find);
    if (parts.length !== 2)
      throw new Error(
        `mutant "${weakness}": ${JSON.stringify(find)} is ${parts.length - 1} times in ${file}, not once`,
      );
    mutated = parts.join(replace);
  }
  return mutated;
}

/** A copy of what the attacks need, with the compiled originals. The caller removes it. */
export function workshop(): string {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-mutants-"));
  const copy = (name: string) =>
    fs.cpSync(path.join(ROOT, name), path.join(root, name), {
      recursive: true,
      preserveTimestamps: true,
    });
  for (const name of ["contracts/foundry.toml", "contracts/src", "contracts/tools"]) copy(name);
  for (const name of ["Base.sol", "Ledger.sol", "Tree.sol", "Vm.sol", "attacks"])
    copy(`contracts/test/${name}`);
  // Compiled already where the tests have run.
  for (const name of ["build/forge/build-info", "build/forge/cache", "build/forge/out"])
    if (fs.existsSync(path.join(ROOT, name))) copy(name);
  for (const name of ["node_modules", "src"])
    fs.symlinkSync(path.join(ROOT, name), path.join(root, name));
  return root;
}

const testOf = ({ test }: Mutant) => ["test", "--match-test", `^${test}\\(`, "--fuzz-runs", "64"];

/** Runs the attack's test on the mutated contract, in a workshop whose originals are compiled. */
export async function tryMutant(root: string, mutant: Mutant): Promise<Verdict> {
  const file = sourceOf(root, mutant);
  const original = fs.readFileSync(file, "utf8");
  const compiled = path.join(root, "build");
  const kept = path.join(root, "kept");
  fs.cpSync(compiled, kept, { recursive: true, preserveTimestamps: true });
  const { mtime } = fs.statSync(file);
  try {
    fs.writeFileSync(file, mutate(original, mutant));
    const { code, stdout, stderr } = await forge(testOf(mutant), { root });
    const lines = stdout.split("\n");
    const failure = lines.find((line) => line.startsWith("[FAIL"));
    if (failure !== undefined) return { killed: true, reason: failure };
    const passed = lines.some((line) => line.startsWith("[PASS]"));
    const reason = passed ? `${mutant.test} passes all the same` : `${code}: ${stderr}${stdout}`;
    return { killed: false, reason };
  } finally {
    // Back to the compiled originals, so that the next mutant costs only its own file.
    fs.writeFileSync(file, original);
    fs.utimesSync(file, mtime, mtime);
    fs.rmSync(compiled, { recursive: true });
    fs.renameSync(kept, compiled);
  }
}

/** Compiles the originals and runs the mutants' tests on them: all must pass. */
export async function prepare(root: string, mutants: readonly Mutant[]): Promise<void> {
  const names = [...new Set(mutants.map(({ test }) => test))].join("|");
  const args = ["test", "--match-test", `^(${names})\\(`, "--fuzz-runs", "64"];
  const { code, stdout, stderr } = await forge(args, { root });
  if (code !== 0) throw new Error(`the attacks' tests fail without a mutant:\n${stderr}${stdout}`);
  for (const { test } of mutants)
    if (!stdout.includes(`[PASS] ${test}(`)) throw new Error(`there is no test ${test}`);
}

async function main(): Promise<number> {
  const wanted = process.argv.slice(2);
  const mutants = MUTANTS.filter(
    ({ attack, weakness }) =>
      wanted.length === 0 || wanted.some((name) => `${attack}: ${weakness}`.includes(name)),
  );
  const root = workshop();
  let survivors = 0;
  try {
    await prepare(root, mutants);
    for (const mutant of mutants) {
      const { killed, reason } = await tryMutant(root, mutant);
      if (!killed) survivors++;
      const word = killed ? "killed" : "ALIVE ";
      writeToDescriptor(1, `${word} ${mutant.attack}: ${mutant.weakness} | ${reason}\n`);
    }
  } finally {
    fs.rmSync(root, { recursive: true, force: true });
  }
  writeToDescriptor(1, `${mutants.length - survivors} of ${mutants.length} mutants killed\n`);
  return survivors === 0 && mutants.length > 0 ? 0 : 1;
}

if (import.meta.main) process.exit(await main());
