/**
 * What every kernel of the GPU's library takes of a multiprocessor, for every kind of GPU it is compiled for:
 * registers, spills and static shared memory as ptxas reported them (the build keeps its words beside the
 * objects), threads and dynamic shared memory as the kernels' tests launched them in the emulation, and how
 * many blocks then share a multiprocessor. `bun tests/native/kernel-table.ts` prints it.
 */
import fs from "node:fs";
import path from "node:path";
import { emulatedFolder, launchFolder, root } from "./emulated.ts";

export const reportFolder = path.join(root, "build/cuda");

/** Of a multiprocessor and of a block, by the CUDA programming guide's table of compute capabilities. */
export const TARGETS = {
  sm_80: { shared: 164, shared_block: 163, threads: 2048, blocks: 32 },
  sm_90a: { shared: 228, shared_block: 227, threads: 2048, blocks: 32 },
  sm_120: { shared: 100, shared_block: 99, threads: 1536, blocks: 24 },
} as const;
export type Target = keyof typeof TARGETS;
const REGISTERS = 65_536;
/** Registers are handed out to warps in such pieces, and a block's shared memory has this much more. */
const REGISTER_PIECE = 256;
const RESERVED_BYTES = 1024;
const KIB = 1024;

export interface Kernel {
  /** "kernels/norm.cu" */
  source: string;
  target: Target;
  /** Without namespaces, return type and arguments: "norm_kernel<Plain<float>, float, true>". */
  name: string;
  registers: number;
  stack_bytes: number;
  spill_bytes: number;
  static_bytes: number;
}
export interface Launch {
  threads: number;
  dynamic_bytes: number;
}

/** The part before the arguments, which differ between the device's and the emulation's types. */
function shortName(demangled: string): string {
  let depth = 0;
  let end = demangled.length;
  for (let i = demangled.length - 1; i >= 0; i--) {
    if (demangled[i] === ")") depth++;
    if (demangled[i] === "(" && --depth === 0) {
      end = i;
      break;
    }
  }
  return demangled
    .slice(0, end)
    .replace(/^void /, "")
    .replaceAll("magnet::gpu::", "")
    .replaceAll("(anonymous namespace)::", "");
}

function shortNames(mangled: readonly string[]): string[] {
  const { stdout, exitCode } = Bun.spawnSync(["c++filt"], {
    stdin: new TextEncoder().encode(`${mangled.join("\n")}\n`),
  });
  if (exitCode !== 0) throw new Error("c++filt (binutils) does not run");
  return stdout.toString().split("\n").slice(0, mangled.length).map(shortName);
}

/** Of one object: what ptxas said of each kernel for each target. */
function readReport(text: string, source: string): Kernel[] {
  const found: (Omit<Kernel, "name"> & { mangled: string })[] = [];
  const entry = /Compiling entry function '(\w+)' for '(\w+)'([\s\S]*?Used (\d+) registers.*)/g;
  for (const [, mangled, target, said, registers] of text.matchAll(entry)) {
    if (target === undefined || !(target in TARGETS)) throw new Error(`${source}: for ${target}`);
    const number = (pattern: RegExp) => Number(pattern.exec(said!)?.[1] ?? 0);
    found.push({
      ...{ source, target: target as Target, mangled: mangled!, registers: Number(registers) },
      stack_bytes: number(/(\d+) bytes stack frame/),
      spill_bytes: number(/(\d+) bytes spill stores/) + number(/(\d+) bytes spill loads/),
      static_bytes: number(/(\d+) bytes smem/),
    });
  }
  const names = shortNames(found.map(({ mangled }) => mangled));
  return found.map(({ mangled: _, ...kernel }, i) => ({ ...kernel, name: names[i]! }));
}

/** Of the whole build by nvcc. */
export function readKernels(folder = reportFolder): Kernel[] {
  const files = fs.readdirSync(folder).filter((name) => name.endsWith(".o.said"));
  return files.sort().flatMap((name) => {
    const source = name.replace(/^cpp_cuda_/, "").replace(/\.o\.said$/, "");
    const text = fs.readFileSync(path.join(folder, name), "utf8");
    return readReport(text, source.replace("_", "/"));
  });
}

/** Symbols by their offset in a program or library. */
function symbolsOf(file: string): Map<string, string> {
  const { stdout, exitCode } = Bun.spawnSync(["nm", "--defined-only", file]);
  if (exitCode !== 0) throw new Error(`nm ${file} fails`);
  const lines = stdout.toString().matchAll(/^0*([0-9a-f]+) [tTwW] (\S+)$/gm);
  return new Map([...lines].map(([, offset, name]) => [offset!, name!]));
}

/** How kernels were launched, by their names; empty where no test of the kernels has run. */
export function readLaunches(folder = launchFolder): Map<string, Launch[]> {
  const found = new Map<string, Launch[]>();
  const files = fs.existsSync(folder) ? fs.readdirSync(folder) : [];
  for (const file of files) {
    const text = fs.readFileSync(path.join(folder, file), "utf8").trim();
    if (text === "") continue; // a test of the host's part
    const lines = text.split("\n").map((line) => line.split(" "));
    const symbols = symbolsOf(path.join(emulatedFolder, file));
    const names = shortNames(lines.map(([, offset]) => symbols.get(offset!) ?? `at ${offset}`));
    for (const [i, [, , threads, dynamic_bytes]] of lines.entries()) {
      const launch = { threads: Number(threads), dynamic_bytes: Number(dynamic_bytes) };
      found.set(names[i]!, [...(found.get(names[i]!) ?? []), launch]);
    }
  }
  return found;
}

/** Blocks that share a multiprocessor; 0 where not even one fits. */
export function residentBlocks(kernel: Kernel, { threads, dynamic_bytes }: Launch): number {
  const limits = TARGETS[kernel.target];
  const bytes = kernel.static_bytes + dynamic_bytes;
  if (bytes > limits.shared_block * KIB) return 0;
  const warps = Math.ceil(threads / 32);
  const of_warp = Math.ceil((kernel.registers * 32) / REGISTER_PIECE) * REGISTER_PIECE;
  return Math.min(
    Math.floor(Math.floor(REGISTERS / of_warp) / warps),
    Math.floor((limits.shared * KIB) / (bytes + RESERVED_BYTES)),
    Math.floor(limits.threads / threads),
    limits.blocks,
  );
}

/** The launch with which the fewest threads share a multiprocessor. */
export function tightest(kernel: Kernel, launches: readonly Launch[]): Launch | undefined {
  const threads = (launch: Launch) => residentBlocks(kernel, launch) * launch.threads;
  return [...launches].sort((a, b) => threads(a) - threads(b))[0];
}

function printTable(): void {
  const launches = readLaunches();
  const head = ["kernel", "target", "registers", "spilled", "static", "dynamic", "threads"];
  const rows = [[...head, "blocks", "occupancy"]];
  for (const kernel of readKernels()) {
    const launch = tightest(kernel, launches.get(kernel.name) ?? []);
    const { source, name, target, registers, spill_bytes, static_bytes } = kernel;
    const row = [`${source} ${name}`, target, registers, spill_bytes, static_bytes].map(String);
    if (launch === undefined) rows.push([...row, "", "", "", "not launched"]);
    else {
      const blocks = residentBlocks(kernel, launch);
      const share = (100 * blocks * launch.threads) / TARGETS[target].threads;
      const { threads, dynamic_bytes } = launch;
      rows.push([...row, ...[dynamic_bytes, threads, blocks].map(String), `${share.toFixed(0)}%`]);
    }
  }
  for (const row of rows) process.stdout.write(`${row.join("\t")}\n`);
}
if (import.meta.main) printTable();
