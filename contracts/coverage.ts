/**
 * Which branches of the contracts the tests take, from forge's lcov report; what OpenZeppelin and the
 * tests contain does not count.
 */
import fs from "node:fs";
import path from "node:path";
import { forge, ROOT } from "./forge.ts";

/** Of all branches in contracts/src; below it `contracts/test.ts --coverage` fails. */
export const LEAST_BRANCH_COVERAGE = 0.95;

/** The invariants take the same ways many times; what costs gas is not measured without the optimizer. */
const LEFT_OUT = "Gas|Invariants";

export interface FileCoverage {
  file: string;
  branches: number;
  taken: number;
  lines: number;
  run: number;
  /** Lines with a branch that no test takes. */
  missed: number[];
}

/** Reads an lcov report. */
export function readLcov(text: string): FileCoverage[] {
  return text
    .split("end_of_record")
    .filter((record) => record.includes("SF:"))
    .map((record) => {
      const entries = (tag: string) =>
        [...record.matchAll(new RegExp(`^${tag}:(.+)$`, "gm"))].map(([, rest]) => rest!.split(","));
      const branches = entries("BRDA");
      const lines = entries("DA");
      const missed = branches.filter((branch) => !(Number(branch[3]) > 0));
      return {
        file: entries("SF")[0]![0]!,
        branches: branches.length,
        taken: branches.length - missed.length,
        lines: lines.length,
        run: lines.filter((line) => Number(line[1]) > 0).length,
        missed: [...new Set(missed.map((branch) => Number(branch[0])))],
      };
    });
}

/**
 * Runs the tests for coverage of contracts/src (a minute or more: everything is compiled again, with
 * sources mapped and without the optimizer). Throws where a test fails.
 */
export async function measureCoverage(): Promise<FileCoverage[]> {
  const folder = path.join(ROOT, "build/forge/coverage");
  const report = path.join(folder, "lcov.info");
  fs.mkdirSync(folder, { recursive: true });
  fs.rmSync(report, { force: true });
  const args = ["coverage", "--report", "lcov", "--report-file", report];
  const { code, stdout, stderr } = await forge([...args, "--no-match-contract", LEFT_OUT], {
    environment: {
      FOUNDRY_OUT: "build/forge/coverage/out",
      FOUNDRY_CACHE_PATH: "build/forge/coverage/cache",
      // Forge mixes up the sources of two compiler profiles.
      FOUNDRY_ADDITIONAL_COMPILER_PROFILES: "[]",
      FOUNDRY_COMPILATION_RESTRICTIONS: "[]",
    },
  });
  if (code !== 0 || !fs.existsSync(report))
    throw new Error(`forge coverage ended with code ${code}:\n${stderr}${stdout}`);
  const files = readLcov(fs.readFileSync(report, "utf8"));
  return files.filter(({ file }) => file.startsWith("contracts/src/"));
}

/** A table of the files, their sum, and whether it suffices. */
export function judgeCoverage(files: readonly FileCoverage[]): { text: string; enough: boolean } {
  const sum = (key: "taken" | "branches" | "run" | "lines") =>
    files.reduce((all, file) => all + file[key], 0);
  const share = sum("taken") / sum("branches");
  const row = (name: string, branches: string, lines: string, rest: string) =>
    `${name.padEnd(32)} ${branches.padStart(9)} ${lines.padStart(11)}  ${rest}`.trimEnd();
  const rows = files.map(({ file, taken, branches, run, lines, missed }) => {
    const note = missed.length > 0 ? `not taken: lines ${missed.join(", ")}` : "";
    return row(file, `${taken}/${branches}`, `${run}/${lines}`, note);
  });
  const total = row(
    "sum",
    `${sum("taken")}/${sum("branches")}`,
    `${sum("run")}/${sum("lines")}`,
    `${(100 * share).toFixed(2)}% of the branches`,
  );
  const text = [row("contract", "branches", "lines", ""), ...rows, total, ""].join("\n");
  return { text, enough: share >= LEAST_BRANCH_COVERAGE };
}
