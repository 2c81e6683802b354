/**
 * Makes the embedded shared library loadable and returns a path for dlopen. It is copied into a
 * memfd, so nothing touches the disk and noexec temp folders do not matter; where memfd_create is
 * refused, a cache file named by its hash is used, and only after its owner, mode and content were
 * checked.
 */
import { dlopen, FFIType } from "bun:ffi";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import embeddedLibrary from "../../build/libmagnet_cpu.so" with { type: "file" };
import { sha256Hex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";

const MFD_CLOEXEC = 1;

function intoMemfd(bytes: Uint8Array): string {
  const libc = dlopen("libc.so.6", {
    memfd_create: { args: [FFIType.cstring, FFIType.u32], returns: FFIType.i32 },
  });
  const name = new TextEncoder().encode("libmagnet\0");
  const fd = libc.symbols.memfd_create(name, MFD_CLOEXEC);
  if (fd < 0) throw new Error("memfd_create was refused");
  for (let written = 0; written < bytes.length; )
    written += fs.writeSync(fd, bytes, written, bytes.length - written);
  return `/proc/self/fd/${fd}`;
}

function isTrusted(file: string, hash: string): boolean {
  try {
    const stat = fs.lstatSync(file);
    const mine = stat.isFile() && stat.uid === process.getuid?.() && (stat.mode & 0o022) === 0;
    return mine && sha256Hex(fs.readFileSync(file)) === hash;
  } catch {
    return false; // absent or unreadable: it is written anew
  }
}

/** Exported for its test: the fallback where memfd_create is refused. */
export function intoCache(bytes: Uint8Array, cacheHome: string): string {
  const hash = sha256Hex(bytes);
  const folder = path.join(cacheHome, "magnet", "lib");
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = path.join(folder, `${hash}.so`);
  if (!isTrusted(file, hash)) {
    const temporary = `${file}.${process.pid}.tmp`;
    fs.rmSync(temporary, { force: true });
    fs.writeFileSync(temporary, bytes, { flag: "wx", mode: 0o500, flush: true });
    fs.renameSync(temporary, file);
  }
  return file;
}

/** ELF's e_machine, by the name that process.arch has for it. */
const MACHINES = new Map([
  [62, "x64"],
  [183, "arm64"],
]);

/** Exported for its test. Throws where the library is for another CPU than this process. */
export function checkArchitecture(library: Uint8Array, arch: string = process.arch): void {
  const machine = library.length < 20 ? 0 : library[18]! | (library[19]! << 8);
  const built = MACHINES.get(machine);
  if (built === arch) return;
  throw new MagnetError(
    "LIBRARY_NOT_LOADED",
    `the native library is built for ${built ?? `another CPU (ELF machine ${machine})`}, this process runs on ${arch}`,
    {
      hint: "magnet runs on Linux on x86-64 and AArch64; take the executable for this machine, or build it here: npm run build",
      exit: "hardware",
    },
  );
}

const HINT =
  "magnet needs Linux with glibc 2.35 or newer; set XDG_CACHE_HOME to a folder that allows execution";

/**
 * Path from which dlopen takes an embedded library. `symbol`: one of its functions. Throws
 * LIBRARY_NOT_LOADED.
 */
export function loadable(bytes: Uint8Array, symbol: string, hint = HINT): string {
  checkArchitecture(bytes);
  const failures: string[] = [];
  const home = process.env.XDG_CACHE_HOME || path.join(os.homedir(), ".cache");
  const ways: (() => string)[] =
    process.env.MAGNET_NO_MEMFD === "1"
      ? [() => intoCache(bytes, home)]
      : [() => intoMemfd(bytes), () => intoCache(bytes, home)];
  for (const way of ways) {
    try {
      const file = way();
      dlopen(file, { [symbol]: { args: [], returns: FFIType.i32 } });
      return file;
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
    }
  }
  const why = `the native library does not load: ${failures.join("; ")}`;
  throw new MagnetError("LIBRARY_NOT_LOADED", why, { hint, exit: "hardware" });
}

/** Path of the loadable library, made once per process. */
export const libraryFile: string = loadable(
  new Uint8Array(await Bun.file(embeddedLibrary).arrayBuffer()),
  "mg_abi_version",
);
