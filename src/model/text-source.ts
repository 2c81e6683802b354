/**
 * Which files a training corpus is made of: text (.txt, .md, or any file named directly) and JSONL
 * (.jsonl, .ndjson: one {"text": "..."} a line), each also packed with gzip (.gz), and folders of
 * them, in one fixed order.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";

export interface TextInput {
  path: string;
  kind: "text" | "jsonl";
  /** Packed with gzip. */
  packed: boolean;
  /** As it is on disk. */
  size_bytes: number;
}
export interface FoundInputs {
  /** Sorted by path within each folder; folders in the order they were given. */
  inputs: TextInput[];
  size_bytes: number;
  /** Files in folders passed over for their ending. */
  ignored_files: number;
}

const TEXT_ENDINGS = [".txt", ".text", ".md"];
const JSONL_ENDINGS = [".jsonl", ".ndjson"];
/** Deeper trees are most likely a loop of mounts. */
const DEPTH_MAX = 32;
/** Ten million names still fit into memory; beyond it, pack the documents into JSONL. */
const FILES_MAX = 10_000_000;

const isPacked = (name: string) => name.toLowerCase().endsWith(".gz");

const kindOf = (name: string): TextInput["kind"] | null => {
  const ending = path.extname(isPacked(name) ? name.slice(0, -3) : name).toLowerCase();
  if (JSONL_ENDINGS.includes(ending)) return "jsonl";
  return TEXT_ENDINGS.includes(ending) ? "text" : null;
};

async function walk(folder: string, depth: number, found: FoundInputs): Promise<void> {
  if (depth > DEPTH_MAX)
    throw new MagnetError("DATA_TOO_DEEP", `${folder} lies deeper than ${DEPTH_MAX} folders`, {
      hint: "name the inner folder",
    });
  const entries = await fs.readdir(folder, { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    if (entry.name.startsWith(".")) continue;
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) {
      await walk(full, depth + 1, found);
      continue;
    }
    const kind = kindOf(entry.name);
    const stat = kind === null ? null : await fs.stat(full); // follows a link to a file
    if (kind !== null && stat?.isFile()) add(found, full, kind, stat.size);
    else found.ignored_files++;
  }
}

function add(found: FoundInputs, file: string, kind: TextInput["kind"], size_bytes: number): void {
  if (found.inputs.length >= FILES_MAX)
    throw new MagnetError("DATA_TOO_MANY_FILES", `more than ${FILES_MAX} files`, {
      hint: "pack the documents into JSONL files",
    });
  found.inputs.push({ path: file, kind, packed: isPacked(file), size_bytes });
  found.size_bytes += size_bytes;
}

/**
 * Finds the files behind paths of files and folders (recursive; names starting with "." are left
 * out). Throws NOT_FOUND, NOT_A_FILE (a pipe or device: data is read twice), DATA_EMPTY.
 */
export async function findInputs(paths: readonly string[]): Promise<FoundInputs> {
  const found: FoundInputs = { inputs: [], size_bytes: 0, ignored_files: 0 };
  for (const given of paths) {
    try {
      const stat = await fs.stat(given);
      if (stat.isDirectory()) await walk(given, 0, found);
      else if (stat.isFile()) add(found, given, kindOf(given) ?? "text", stat.size);
      else
        throw new MagnetError("NOT_A_FILE", `${given} is neither a file nor a folder`, {
          hint: "save the data to a file first: it is read more than once",
        });
    } catch (error) {
      throw toMagnetError(error);
    }
  }
  if (found.size_bytes > 0) return found;
  const what =
    found.inputs.length > 0
      ? `${found.inputs.length} file(s) without content`
      : `no .txt, .md or .jsonl file, packed or not (${found.ignored_files} other file(s))`;
  throw new MagnetError("DATA_EMPTY", `${paths.join(", ") || "the list of inputs"}: ${what}`, {
    hint: "name a text file, a JSONL file with a text field, or a folder of them",
  });
}
