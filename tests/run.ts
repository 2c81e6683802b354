/**
 * Runs everything that `npm test` promises, in stages: type check, lint and format check, then the
 * tests of each room in a process of their own (a crash of the native library then fails one room,
 * not the report). Ends with exactly one line `N passed, N failed, N skipped`; the type check and
 * the lint count as one test each. Arguments are path filters (`npm test -- tests/core`) and skip
 * the two checks.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { writeToDescriptor } from "../src/core/stdio.ts";

const root = path.join(import.meta.dir, "..");
const bin = (name: string) => path.join(root, "node_modules/.bin", name);
/** One test may take this long before it counts as failed. */
const TEST_TIMEOUT_MS = 120_000;

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const say = (text: string) => void writeToDescriptor(1, `${text}\n`);

/**
 * The surroundings of a developer must not decide a test: only the forced CPU path is passed on.
 */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !name.startsWith("MAGNET_") || name === "MAGNET_CPU",
  ),
);

async function run(command: string[]): Promise<number> {
  const child = Bun.spawn(command, {
    cwd: root,
    env: environment,
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
  });
  return await child.exited;
}

async function stage(name: string, body: () => Promise<Counts>): Promise<Counts> {
  say(`\n== ${name}`);
  const started = performance.now();
  const counts = await body();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  say(`== ${name}: ${summary(counts)} in ${seconds} s`);
  return counts;
}

const summary = ({ passed, failed, skipped }: Counts) =>
  `${passed} passed, ${failed} failed, ${skipped} skipped`;

async function check(command: string[]): Promise<Counts> {
  const code = await run(command);
  return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
}

/** Sums of the junit report; undefined where it is missing or cut off (the process died). */
export function readJunit(xml: string): Counts | undefined {
  const tag = /<testsuites\b[^>]*>/.exec(xml)?.[0];
  if (!tag || !xml.trimEnd().endsWith("</testsuites>")) return undefined;
  const attribute = (name: string) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(tag)?.[1] ?? 0);
  const skipped = attribute("skipped");
  const failed = attribute("failures") + attribute("errors");
  return { passed: attribute("tests") - failed - skipped, failed, skipped };
}

async function testFiles(name: string, filters: string[]): Promise<Counts> {
  const report = path.join(os.tmpdir(), `magnet-junit-${process.pid}-${name}.xml`);
  try {
    const code = await run([
      process.execPath,
      "test",
      `--timeout=${TEST_TIMEOUT_MS}`,
      "--reporter=junit",
      `--reporter-outfile=${report}`,
      ...filters,
    ]);
    const counts = fs.existsSync(report) ? readJunit(fs.readFileSync(report, "utf8")) : undefined;
    if (!counts) {
      say(`${name}: the test process ended with code ${code} before it wrote its report`);
      return { passed: 0, failed: 1, skipped: 0 };
    }
    // An error outside of any test fails the run without a failed test.
    if (code !== 0 && counts.failed === 0) return { ...counts, failed: 1 };
    return counts;
  } finally {
    fs.rmSync(report, { force: true });
  }
}

/** Test files, by the folder below tests/ that they are in. */
function rooms(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const file of [...new Bun.Glob("**/*.test.ts").scanSync(import.meta.dir)].sort()) {
    if (file.includes("node_modules")) continue;
    const room = file.includes("/") ? file.split("/")[0]! : "rules";
    found.set(room, [...(found.get(room) ?? []), `./tests/${file}`]);
  }
  return found;
}

async function main(): Promise<number> {
  const filters = process.argv.slice(2);
  const all: Counts[] = [];
  if (filters.length === 0) {
    all.push(await stage("types", () => check([bin("tsc"), "-p", "."])));
    const lint = [bin("biome"), "check", "src", "tests", "build.ts", "contracts", "cpp"];
    all.push(await stage("lint and format", () => check(lint)));
    for (const [room, files] of rooms())
      all.push(await stage(`tests/${room}`, () => testFiles(room, files)));
  } else {
    const paths = filters.map((filter) => (filter.startsWith("tests/") ? `./${filter}` : filter));
    all.push(await stage(`tests ${filters.join(" ")}`, () => testFiles("filtered", paths)));
  }
  const total = all.reduce((sum, counts) => ({
    passed: sum.passed + counts.passed,
    failed: sum.failed + counts.failed,
    skipped: sum.skipped + counts.skipped,
  }));
  say("");
  say(summary(total));
  return total.failed > 0 || total.passed === 0 ? 1 : 0;
}

if (import.meta.main) process.exit(await main());
