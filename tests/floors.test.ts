/**
 * The house keeps its floors: a file imports from its own room or from a lower floor, type imports
 * and dynamic imports included. Files stay short enough to be read in one sitting.
 */
import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";

const root = path.join(import.meta.dir, "..");
const source = path.join(root, "src");

/** Rooms by floor, lowest first; rooms of one floor do not import each other. */
const FLOORS = [
  ["core"],
  ["network", "native"],
  ["chain", "storage", "model"],
  ["diloco", "research"],
  ["agent"],
  ["http", "sim"],
  ["cli"],
  ["main"],
];
const floorOf = new Map(FLOORS.flatMap((rooms, floor) => rooms.map((room) => [room, floor])));

/** Longest file; most have 60-250 lines. */
const LINES_MAX = 450;
/** Files allowed to be longer, each with its reason. */
const LONGER_FILES: Record<string, string> = {
  "src/network/election.ts": "one agreement proof: its handlers are read against one invariant",
};

const glob = (folder: string, pattern: string) =>
  [...new Bun.Glob(pattern).scanSync(folder)].filter((f) => !f.includes("node_modules")).sort();
const files = glob(source, "**/*.ts");

/**
 * Module names of all imports and re-exports; `import type`, `import("x")` and side effects count.
 */
function importsOf(code: string): string[] {
  const bare = code.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/^\s*\/\/.*$/gm, "");
  const pattern = /\b(?:from|import)\s*\(?\s*(["'])([^"'\n]+)\1/g;
  return [...bare.matchAll(pattern)].map((match) => match[2]!);
}

const roomOf = (file: string) => (file.includes("/") ? file.split("/")[0]! : path.parse(file).name);

/** What a file's imports break, as readable lines. */
function violations(file: string, code: string): string[] {
  const room = roomOf(file);
  const floor = floorOf.get(room);
  if (floor === undefined) return [`src/${file}: room "${room}" has no floor`];
  return importsOf(code)
    .filter((name) => name.startsWith("."))
    .map((name) => path.relative(source, path.resolve(source, path.dirname(file), name)))
    .filter((target) => !target.startsWith("..")) // package.json, the built library
    .flatMap((target) => {
      const other = roomOf(target);
      const below = floorOf.get(other);
      if (other === room || (below !== undefined && below < floor)) return [];
      return [`src/${file} (${room}) imports src/${target} (${other})`];
    });
}

describe("floors", () => {
  test("there are files to check", () => expect(files.length).toBeGreaterThan(20));

  test("every file imports from its own room or a lower floor", () => {
    const found = files.flatMap((file) =>
      violations(file, fs.readFileSync(path.join(source, file), "utf8")),
    );
    expect(found).toEqual([]);
  });

  test("the reader of imports misses none that the runtime sees", () => {
    const transpiler = new Bun.Transpiler({ loader: "ts" });
    for (const file of files) {
      const code = fs.readFileSync(path.join(source, file), "utf8");
      const seen = new Set(importsOf(code));
      for (const { path: name } of transpiler.scanImports(code)) expect(seen).toContain(name);
    }
  });

  test("a type import, a dynamic import and a neighbour on the same floor are caught", () => {
    expect(violations("core/a.ts", 'import type { X } from "../network/x.ts";')).toHaveLength(1);
    expect(violations("agent/a.ts", 'const m = await import("../cli/version.ts");')).toHaveLength(
      1,
    );
    expect(violations("storage/a.ts", 'export * from "../model/x.ts";')).toHaveLength(1);
    expect(violations("cellar/a.ts", "")).toHaveLength(1);
    expect(violations("cli/a.ts", 'import x from "../core/x.ts"; import "./b.ts";')).toEqual([]);
  });
});

describe("house rules", () => {
  test("files are short, or listed with a reason", () => {
    const measured = [
      ...files.map((file) => `src/${file}`),
      ...glob(path.join(root, "cpp"), "**/*.{cpp,h,hpp,inc}").map((file) => `cpp/${file}`),
      ...glob(path.join(root, "tests"), "**/*.ts").map((file) => `tests/${file}`),
    ];
    const long = measured.filter((file) => {
      const lines = fs.readFileSync(path.join(root, file), "utf8").trimEnd().split("\n").length;
      return lines > LINES_MAX && LONGER_FILES[file] === undefined;
    });
    expect(long).toEqual([]);
  });

  test("every source file starts by saying what it is", () => {
    const silent = files.filter(
      (file) => !fs.readFileSync(path.join(source, file), "utf8").startsWith("/**"),
    );
    expect(silent).toEqual([]);
  });

  test("the console, exit() and unfinished markers stay out of the rooms", () => {
    const found = files.flatMap((file) => {
      const code = fs.readFileSync(path.join(source, file), "utf8");
      const banned = [
        /\bprocess\.exit\(/,
        /\bTODO\b|\bFIXME\b/,
        /@ts-(ignore|nocheck)/,
        /biome-ignore/,
      ];
      return file === "main.ts"
        ? []
        : banned.filter((p) => p.test(code)).map((p) => `${file} ${p}`);
    });
    expect(found).toEqual([]);
  });
});
