/**
 * Runs the real command line in a process of its own: always from source, and also the compiled
 * binary where dist/magnet is there and not older than the sources (`npm test` builds it first).
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const root = path.join(import.meta.dir, "../..");
const compiled = path.join(root, "dist/magnet");

export interface Executable {
  name: string;
  command: string[];
}

function newestSource(): number {
  const files = [...new Bun.Glob("src/**/*.ts").scanSync(root), "build.ts", "package.json"];
  return Math.max(...files.map((file) => fs.statSync(path.join(root, file)).mtimeMs));
}

function executables(): Executable[] {
  const source = { name: "source", command: [process.execPath, path.join(root, "src/main.ts")] };
  if (!fs.existsSync(compiled)) {
    process.stderr.write("dist/magnet is absent: only the sources are tested\n");
    return [source];
  }
  if (fs.statSync(compiled).mtimeMs < newestSource()) {
    process.stderr.write("dist/magnet is older than the sources: only these are tested\n");
    return [source];
  }
  return [source, { name: "binary", command: [compiled] }];
}
export const EXECUTABLES = executables();
/**
 * The compiled binary where it is there, else the sources: for tests that need only one of them.
 */
export const MAIN = EXECUTABLES.at(-1)!;

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  env?: Record<string, string>;
  cwd?: string;
  stdin?: string;
}

/** A folder of its own for each test file: HOME of every run, removed by the caller. */
export const makeHome = (): string => fs.mkdtempSync(path.join(os.tmpdir(), "magnet-cli-"));

/** Runs to the end. The environment holds only PATH, HOME and what is given. */
export async function magnet(
  executable: Executable,
  home: string,
  args: string[],
  { env = {}, cwd, stdin = "" }: RunOptions = {},
): Promise<Outcome> {
  const child = Bun.spawn([...executable.command, ...args], {
    cwd: cwd ?? home,
    env: { PATH: process.env.PATH ?? "/usr/bin:/bin", HOME: home, ...env },
    stdin: new TextEncoder().encode(stdin),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}

/** The one JSON document on stdout; fails where there is more or less than one line. */
export function oneDocument(outcome: Outcome): Record<string, unknown> {
  const lines = outcome.stdout.split("\n");
  if (lines.length !== 2 || lines[1] !== "")
    throw new Error(`not one line on stdout: ${JSON.stringify(outcome)}`);
  const document = JSON.parse(lines[0]!) as Record<string, unknown>;
  if (Object.keys(document)[0] !== "schema") throw new Error("the first key is not the schema");
  return document;
}

interface ErrorDocument {
  schema: string;
  error: { code: string; message: string; hint: string | null; retryable: boolean };
}
/** The error document of a failed `--json` run, after checking its shape. */
export function errorDocument(outcome: Outcome): ErrorDocument["error"] {
  const document = oneDocument(outcome) as unknown as ErrorDocument;
  const { error } = document;
  const shaped =
    document.schema === "magnet.error/1" &&
    Object.keys(document).join() === "schema,error" &&
    Object.keys(error).join() === "code,message,hint,retryable" &&
    /^[A-Z][A-Z0-9_]+$/.test(error.code) &&
    error.message.length > 0 &&
    outcome.code !== 0;
  if (!shaped) throw new Error(`not an error document: ${JSON.stringify(outcome)}`);
  return error;
}
