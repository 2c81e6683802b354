/** What every row works with: folders, the executable, and a measured way to call it. */
import fs from "node:fs";
import path from "node:path";

export interface ProofContext {
  /** Cache folder: packages, text, runs, results. */
  dir: string;
  /** The executable that is proved. */
  magnet: string;
  /** Commit that it was built from. */
  commit: string;
  threads: number;
  signal: AbortSignal;
  log(line: string): void;
}

/** Time and memory of finished processes. */
export interface Usage {
  wall_s: number;
  /** User and system time of all threads. */
  cpu_s: number;
  rss_bytes_max: number;
}
export const NO_USAGE: Usage = { wall_s: 0, cpu_s: 0, rss_bytes_max: 0 };
export const addUsage = (a: Usage, b: Usage): Usage => ({
  wall_s: round(a.wall_s + b.wall_s, 1),
  cpu_s: round(a.cpu_s + b.cpu_s, 1),
  rss_bytes_max: Math.max(a.rss_bytes_max, b.rss_bytes_max),
});

export const round = (value: number, digits: number) => Number(value.toFixed(digits));

export interface Called {
  /** The JSON documents on stdout. */
  records: Record<string, unknown>[];
  usage: Usage;
  exit_code: number;
}
export class Stopped extends Error {}

/**
 * Runs a command that prints JSON lines. `onRecord` sees each as it comes and may stop the process
 * (SIGTERM, after which magnet saves and exits with 130). Throws where it fails otherwise, and
 * Stopped where the proof itself was told to stop.
 */
export async function call(
  context: ProofContext,
  command: string[],
  options: {
    cwd?: string;
    onRecord?: (record: Record<string, unknown>, stop: () => void) => void;
  } = {},
): Promise<Called> {
  if (context.signal.aborted) throw new Stopped("stopped");
  const started = performance.now();
  const child = Bun.spawn(command, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  let asked = false;
  const stop = () => {
    asked = true;
    child.kill("SIGTERM");
  };
  context.signal.addEventListener("abort", stop);
  const errors = new Response(child.stderr).text();
  const records: Record<string, unknown>[] = [];
  let pending = "";
  const decoder = new TextDecoder();
  for await (const piece of child.stdout) {
    pending += decoder.decode(piece, { stream: true });
    for (let end = pending.indexOf("\n"); end >= 0; end = pending.indexOf("\n")) {
      const line = pending.slice(0, end);
      pending = pending.slice(end + 1);
      if (!line.startsWith("{")) continue;
      const record = JSON.parse(line);
      records.push(record);
      options.onRecord?.(record, stop);
    }
  }
  const exit_code = await child.exited;
  context.signal.removeEventListener("abort", stop);
  const used = child.resourceUsage();
  const usage = {
    wall_s: (performance.now() - started) / 1000,
    cpu_s: used === undefined ? 0 : Number(used.cpuTime.total) / 1e6,
    rss_bytes_max: used?.maxRSS ?? 0,
  };
  if (exit_code !== 0 && !asked) {
    const said = [JSON.stringify(records.at(-1) ?? ""), (await errors).trim().slice(-2000)];
    throw new Error(`${command.join(" ")}\nexit ${exit_code}: ${said.join("\n")}`);
  }
  return { records, usage, exit_code };
}

/** Calls magnet with --json. */
export const magnet = (
  context: ProofContext,
  args: (string | number)[],
  options: Parameters<typeof call>[2] = {},
) => call(context, [context.magnet, ...args.map(String), "--json"], options);

/** The first record of a schema ("train" for magnet.train/1). */
export function recordOf(called: Called, name: string): Record<string, unknown> {
  const found = called.records.findLast(({ schema }) => schema === `magnet.${name}/1`);
  if (found === undefined) throw new Error(`no magnet.${name}/1 was printed`);
  return found;
}

/** Writes a file at once or not at all. */
export function writeWhole(file: string, text: string): void {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(`${file}.part`, text);
  fs.renameSync(`${file}.part`, file);
}
export const readJson = <T>(file: string): T | null =>
  fs.existsSync(file) ? (JSON.parse(fs.readFileSync(file, "utf8")) as T) : null;
