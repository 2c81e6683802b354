/**
 * What a folder of bitnet.cpp or llama.cpp holds: the header, the library, the libraries of compute
 * kernels. Sources with a build below them, an installation, or just files laid side by side: names
 * are looked for at any depth, the shortest path counts. Used by build.ts and at run time.
 */
import fs from "node:fs";
import path from "node:path";
import { MagnetError } from "../core/errors.ts";

export interface BitnetCppFolder {
  /** Folders of llama.h and ggml.h. */
  includes: string[];
  /** libllama.so, under whatever version. */
  library: string;
  /** libggml.so and libggml-base.so, where they are apart. */
  ggml: string[];
  /** Folder of the libggml-cpu-*.so that are chosen from at run time; of libllama where none are. */
  kernels: string;
}

const LIBRARY = /^libllama(\.v?[\d.]+)?\.so(\.[\d.]+)?$/;
const GGML = /^libggml(-base)?(\.v?[\d.]+)?\.so$/;
const KERNELS = /^libggml-cpu(-\w+)?\.so$/;
/** Folders that hold nothing of it, and many files. */
const SKIPPED = new Set([".git", "node_modules", "models", "docs", "tests", "examples"]);
const DEPTH_MAX = 8;

/** Files below a folder, nearest first; links to folders are not followed. */
function filesBelow(folder: string): string[] {
  const found: string[] = [];
  let level = [folder];
  for (let depth = 0; depth < DEPTH_MAX && level.length > 0; depth++) {
    const next: string[] = [];
    for (const at of level)
      for (const entry of fs.readdirSync(at, { withFileTypes: true })) {
        const full = path.join(at, entry.name);
        if (!entry.isDirectory()) found.push(full);
        else if (!SKIPPED.has(entry.name)) next.push(full);
      }
    level = next.sort();
  }
  return found;
}

/** Throws BITNET_CPP_NOT_FOUND naming what is missing. */
export function bitnetCppFolder(folder: string): BitnetCppFolder {
  let files: string[];
  try {
    files = filesBelow(path.resolve(folder));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw missing(folder, `it cannot be read (${why})`);
  }
  const named = (pattern: RegExp) =>
    files.filter((file) => pattern.test(path.basename(file))).sort(byDepth);
  const header = named(/^llama\.h$/)[0];
  const ggmlHeader = named(/^ggml\.h$/)[0];
  const library = named(LIBRARY)[0];
  if (header === undefined) throw missing(folder, "it holds no llama.h");
  if (ggmlHeader === undefined) throw missing(folder, "it holds no ggml.h");
  if (library === undefined) throw missing(folder, "it holds no libllama.so (is it built?)");
  const ggml = named(GGML);
  const kernels = named(KERNELS)[0] ?? library;
  return {
    includes: [...new Set([path.dirname(header), path.dirname(ggmlHeader)])],
    library,
    // Of several builds only the files of one.
    ggml: ggml.filter((file, i) => ggml.findIndex((g) => sameName(g, file)) === i),
    kernels: path.dirname(kernels),
  };
}

const byDepth = (a: string, b: string) =>
  a.split(path.sep).length - b.split(path.sep).length || a.length - b.length;
const sameName = (a: string, b: string) => path.basename(a) === path.basename(b);

const missing = (folder: string, why: string) =>
  new MagnetError("BITNET_CPP_NOT_FOUND", `BITNET_CPP_DIR is ${folder}: ${why}`, {
    hint: "name a folder with llama.h, ggml.h and libllama.so: bitnet.cpp or llama.cpp, built with -DBUILD_SHARED_LIBS=ON",
    exit: "config",
  });
