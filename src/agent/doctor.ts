/**
 * Looks over what a node needs on this machine and says for each point how it stands and what would
 * fix it. Every check is on its own: one that fails, or cannot run, never hides the others. Nothing
 * is changed; the disk test removes its file.
 */
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { equalBytes, formatBytes } from "../core/bytes.ts";
import type { ConfigValues } from "../core/config-schema.ts";
import { type MagnetError, toMagnetError } from "../core/errors.ts";
import { systemRandom } from "../core/random.ts";
import type { KeyStorage } from "../network/key-storage.ts";
import { type Check, fail, ok, warn } from "./doctor-check.ts";
import { checkGpu } from "./doctor-gpu.ts";
import { checkKey } from "./doctor-key.ts";

export type { Check, CheckStatus } from "./doctor-check.ts";

export interface DoctorOptions {
  /** The settings in force, or defaults where `config_error` says why they could not be read. */
  values: ConfigValues;
  config_file: string | undefined;
  config_error: MagnetError | undefined;
  keys: KeyStorage;
}

/** Below this much memory the demo does not fit beside a desktop. */
const MEMORY_MIN_BYTES = 1 * 2 ** 30;
const MEMORY_GOOD_BYTES = 4 * 2 ** 30;
const DISK_MIN_BYTES = 1 * 2 ** 30;
/** Sockets, shards and SQLite of one node with a few hundred peers. */
const DESCRIPTORS_GOOD = 4096;
const DESCRIPTORS_MIN = 256;
const DISK_TEST_BYTES = 16 * 2 ** 20;
/** Paper 10.2: storage needs more than 50 MB/s of writing. */
const DISK_WRITE_GOOD_BYTES_PER_S = 50e6;

/** Runs every check, in the order they are shown. Never throws. */
export async function runDoctor(options: DoctorOptions): Promise<Check[]> {
  const { node } = options.values;
  const checks: [string, () => Check | Promise<Check>][] = [
    ["config", () => checkConfig(options)],
    ["library", checkLibrary],
    ["cpu", checkCpu],
    ["gpu", checkGpu],
    ["memory", checkMemory],
    ["disk", () => checkDisk(node.data_dir)],
    ["space", () => checkSpace(node.data_dir, node.max_disk)],
    ["key", () => checkKey(options.keys)],
    ["listen", () => checkPort(node.listen)],
    ["descriptors", checkDescriptors],
  ];
  const results: Check[] = [];
  for (const [name, run] of checks) {
    try {
      results.push(await run());
    } catch (error) {
      const failure = toMagnetError(error);
      results.push(fail(name, failure.message, failure.hint ?? "run again with --verbose"));
    }
  }
  return results;
}

function checkConfig({ config_file, config_error }: DoctorOptions): Check {
  if (config_error)
    return fail(
      "config",
      `${config_error.code}: ${config_error.message}`,
      config_error.hint ?? "magnet config check",
    );
  return ok("config", config_file ?? "no file, defaults in force");
}

/** Imported here and not above: where the library does not load, the doctor still runs. */
async function checkLibrary(): Promise<Check> {
  const { libraryFile } = await import("../native/loader.ts");
  const inMemory = libraryFile.startsWith("/proc/self/fd/");
  return ok("library", inMemory ? "loaded from memory" : `loaded from ${libraryFile}`);
}

async function checkCpu(): Promise<Check> {
  const { cpuInfo, knownAnswer } = await import("../native/library.ts");
  const { path: cpuPath, refused, features, threads_online } = cpuInfo();
  const model = os.cpus()[0]?.model.trim() ?? "unknown CPU";
  const value = `${model}, ${threads_online} threads, ${cpuPath} path (${features.join(" ")})`;
  const { digest, expected } = knownAnswer();
  const wrong = digest === expected ? refused : [...refused, cpuPath];
  if (wrong.length > 0)
    return fail(
      "cpu",
      `${value}; wrong results on the ${wrong.join(" and ")} path`,
      "this machine would be judged a cheat: try another kernel, hypervisor or build of magnet",
    );
  if (cpuPath !== "scalar") return ok("cpu", value);
  return warn(
    "cpu",
    value,
    "training and chat are slow without AVX2; unset MAGNET_CPU if it is set",
  );
}

function checkMemory(): Check {
  const total = Math.min(os.totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);
  const available = Math.min(process.availableMemory(), total);
  const value = `${formatBytes(available)} available of ${formatBytes(total)}`;
  if (available < MEMORY_MIN_BYTES) return fail("memory", value, "close programs or add memory");
  if (available < MEMORY_GOOD_BYTES)
    return warn("memory", value, "enough for small models; larger ones need more");
  return ok("memory", value);
}

/** The folder itself, or the nearest one above it that exists. */
function existing(folder: string): string {
  let at = path.resolve(folder);
  while (!fs.existsSync(at) && path.dirname(at) !== at) at = path.dirname(at);
  return at;
}

/** Writes, syncs, reads back and removes a file where the data lives (or would be made). */
function checkDisk(dataDir: string): Check {
  const folder = existing(dataDir);
  const file = path.join(folder, `.magnet-doctor-${process.pid}.tmp`);
  const bytes = systemRandom.bytes(DISK_TEST_BYTES);
  try {
    const started = performance.now();
    fs.writeFileSync(file, bytes, { flag: "wx", mode: 0o600, flush: true });
    const rate = DISK_TEST_BYTES / ((performance.now() - started) / 1000);
    if (!equalBytes(fs.readFileSync(file), bytes))
      return fail("disk", `${folder} gave back other bytes than written`, "replace this disk");
    const value = `${folder}, ${(rate / 1e6).toFixed(0)} MB/s written and synced`;
    if (rate >= DISK_WRITE_GOOD_BYTES_PER_S) return ok("disk", value);
    return warn("disk", value, "storing for others needs 50 MB/s; choose a faster disk");
  } catch (error) {
    const failure = toMagnetError(error);
    return fail("disk", failure.message, "choose a writable folder with --data-dir");
  } finally {
    fs.rmSync(file, { force: true });
  }
}

function checkSpace(dataDir: string, wantedBytes: number): Check {
  const { bavail, bsize } = fs.statfsSync(existing(dataDir));
  const free = bavail * bsize;
  const value = `${formatBytes(free)} free, ${formatBytes(wantedBytes)} allowed to magnet`;
  if (free < DISK_MIN_BYTES) return fail("space", value, "free at least 1 GiB");
  if (free < wantedBytes)
    return warn("space", value, "lower it: magnet config set node.max_disk SIZE");
  return ok("space", value);
}

/** Binds for a moment. A running node holds its own port, so "in use" is a warning only. */
async function checkPort(address: string): Promise<Check> {
  const split = address.lastIndexOf(":");
  const host = address.slice(0, split).replace(/^\[|\]$/g, "");
  const port = Number(address.slice(split + 1));
  const failure = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    const server = net.createServer();
    server.once("error", resolve);
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
  if (!failure) return ok("listen", `${address} is free`);
  const fix = "magnet config set node.listen HOST:PORT";
  if (failure.code === "EADDRINUSE")
    return warn(
      "listen",
      `${address} is in use`,
      `fine if that is a running node, otherwise: ${fix}`,
    );
  return fail("listen", `${address}: ${failure.code ?? failure.message}`, fix);
}

function checkDescriptors(): Check {
  const limits = fs.readFileSync("/proc/self/limits", "utf8");
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(limits)?.[1];
  const count = soft === "unlimited" ? Number.POSITIVE_INFINITY : Number(soft ?? Number.NaN);
  const value = `${soft ?? "unknown number of"} open files allowed`;
  const fix = "ulimit -n 65536, or LimitNOFILE=65536 in the systemd unit";
  if (count >= DESCRIPTORS_GOOD) return ok("descriptors", value);
  return count < DESCRIPTORS_MIN
    ? fail("descriptors", value, fix)
    : warn("descriptors", value, fix);
}
