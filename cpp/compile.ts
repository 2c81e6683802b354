/**
 * What the builds of the native libraries share (build.ts, cpp/cuda/build.ts): only what changed is
 * compiled, in parallel, and a file is replaced only by a whole new one.
 */
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";

export const root = path.join(import.meta.dir, "..");
const run = promisify(execFile);

export interface Compiler {
  compiler: string;
  /** Debian's package of it. */
  compilerPackage: string;
}

export const say = (text: string) => process.stderr.write(`build: ${text}\n`);

/** Files below a folder, tests left out. */
export function sources(dir: string, pattern: RegExp): string[] {
  return fs
    .readdirSync(path.join(root, dir), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => !file.includes(`${path.sep}tests${path.sep}`))
    .sort();
}

export function mtime(file: string): number {
  return fs.existsSync(file) ? fs.statSync(file).mtimeMs : 0;
}

/** Runs jobs with at most `limit` at once; the first failure rejects. */
async function inParallel<T>(items: T[], limit: number, job: (item: T) => Promise<void>) {
  const queue = [...items];
  await Promise.all(
    Array.from({ length: Math.min(limit, items.length) }, async () => {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) await job(item);
    }),
  );
}

/** Returns what the compiler says. */
export async function compile(by: Compiler, args: string[]): Promise<string> {
  const { compiler, compilerPackage } = by;
  try {
    // Relative names: what the compiler writes down holds wherever the folder lies.
    const { stdout, stderr } = await run(compiler, args, { maxBuffer: 1 << 26, cwd: root });
    return stderr + stdout;
  } catch (error) {
    const failure = error as { stdout?: string; stderr?: string; code?: string };
    if (failure.code === "ENOENT")
      throw new Error(`${compiler} not found; install it: sudo apt-get install ${compilerPackage}`);
    // ptxas, for one, says on stdout what it does not like.
    const said = `${failure.stderr ?? String(error)}${failure.stdout ?? ""}`;
    throw new Error(`${compiler} ${args.join(" ")}\n${said}`);
  }
}

/** What the compiler said of an object, where that is kept. */
export const reportOf = (object: string) => `${object}.said`;

/** Whether a file that went into the object (as the compiler wrote down) is newer, or gone. */
function isStale(object: string): boolean {
  const built = mtime(object);
  const list = `${object}.d`;
  if (built === 0 || !fs.existsSync(list)) return true;
  const [, ...read] = fs.readFileSync(list, "utf8").replaceAll("\\\n", " ").trim().split(/\s+/);
  return read
    .filter((file) => file !== ":")
    .map((file) => path.resolve(root, file))
    .some((f) => mtime(f) === 0 || mtime(f) > built);
}

export const objectOf = (folder: string, file: string) =>
  path.join(folder, `${path.relative(root, file).replaceAll(path.sep, "_")}.o`);

export interface Objects {
  /** Gets the objects; others in it are removed. */
  folder: string;
  files: string[];
  flags: string[];
  linkFlags: string[];
  /** Whether what the compiler says of each stays beside its object. */
  reports?: boolean;
  /** "C++ files for build". */
  what: string;
}

/** Compiles what is stale; returns all object files. */
export async function compileFiles(by: Compiler, o: Objects): Promise<string[]> {
  const { folder, files } = o;
  fs.mkdirSync(folder, { recursive: true });
  const flagsFile = path.join(folder, "flags");
  const flags = [by.compiler, ...o.flags, ...o.linkFlags].join(" ");
  const sameFlags = fs.existsSync(flagsFile) && fs.readFileSync(flagsFile, "utf8") === flags;
  const said = (object: string) => !o.reports || fs.existsSync(reportOf(object));
  const fresh = (object: string) => sameFlags && said(object) && !isStale(object);
  const stale = files.filter((file) => !fresh(objectOf(folder, file)));
  const objects = files.map((file) => objectOf(folder, file));
  const current = new Set(objects);
  for (const f of fs.readdirSync(folder))
    if (/\.o(\.\w+)?$/.test(f) && !current.has(path.join(folder, f.replace(/\.o\.\w+$/, ".o"))))
      fs.rmSync(path.join(folder, f));
  if (stale.length > 0) say(`compiling ${stale.length} of ${files.length} ${o.what}`);
  await inParallel(stale, os.availableParallelism(), async (file) => {
    const object = objectOf(folder, file);
    const dependencies = ["-MMD", "-MF", `${object}.d`];
    const source = path.relative(root, file);
    const args = [...o.flags, ...dependencies, "-c", source, "-o", `${object}.tmp`];
    const report = await compile(by, args);
    if (o.reports) fs.writeFileSync(reportOf(object), report);
    fs.renameSync(`${object}.tmp`, object);
  });
  fs.writeFileSync(flagsFile, flags);
  return objects;
}

/** Links the objects, unless the file is there and newer than all of them. */
export async function link(by: Compiler, objects: string[], file: string, flags: string[]) {
  const inputs = [...objects, path.join(root, "cpp/exports.map")];
  if (mtime(file) >= Math.max(...inputs.map(mtime))) return;
  await compile(by, [...objects, ...flags, "-o", `${file}.tmp`]);
  fs.renameSync(`${file}.tmp`, file);
}

/** In place of a library that is not built, so that the executable embeds something. */
export function leaveEmpty(file: string): void {
  if (!fs.existsSync(file) || fs.statSync(file).size > 0) fs.writeFileSync(file, "");
}
