/** What every SQLite file of a node does: made with its folder, kept, locked, refused with a reason. */
import { Database } from "bun:sqlite";
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { openDatabase } from "../../src/core/database.ts";
import { MagnetError } from "../../src/core/errors.ts";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-database-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const open = (file: string, more: { version?: number; exclusive?: boolean } = {}) =>
  openDatabase({
    ...{ file, version: 1, durable: true, ...more },
    tables: "CREATE TABLE IF NOT EXISTS notes (text TEXT) STRICT;",
    unusable: (message, cause) => new MagnetError("NOTES", message, { hint: "none", cause }),
  });

test("is made with its folder, for its owner alone, and keeps its rows", () => {
  const file = path.join(folder, "a/b/notes.sqlite");
  const first = open(file);
  first.run("INSERT INTO notes VALUES ('kept')");
  first.close();
  expect(fs.statSync(path.dirname(file)).mode & 0o777).toBe(0o700);
  const again = open(file);
  expect(again.query("SELECT text FROM notes").all()).toEqual([{ text: "kept" }]);
  again.close();
});

test("a file of a newer magnet, or one that is no database, is refused by its name", () => {
  const newer = path.join(folder, "newer.sqlite");
  open(newer, { version: 2 }).close();
  expect(() => open(newer)).toThrow(`${newer}: written by a newer magnet (2)`);
  const garbage = path.join(folder, "garbage.sqlite");
  fs.writeFileSync(garbage, "no database ".repeat(500));
  expect(() => open(garbage)).toThrow(expect.objectContaining({ code: "NOTES" }));
  expect(fs.readFileSync(garbage, "utf8")).toStartWith("no database");
});

test("one that is exclusive is refused to a second at once, and free after it", () => {
  const file = path.join(folder, "alone.sqlite");
  const first = open(file, { exclusive: true });
  first.run("INSERT INTO notes VALUES ('mine')");
  const asked = performance.now();
  expect(() => open(file, { exclusive: true })).toThrow(expect.objectContaining({ code: "NOTES" }));
  expect(performance.now() - asked).toBeLessThan(2000);
  first.close();
  open(file, { exclusive: true }).close();
});

test("a failed opening leaves nothing locked", () => {
  const file = path.join(folder, "failed.sqlite");
  open(file, { version: 3 }).close();
  expect(() => open(file, { exclusive: true })).toThrow("newer");
  const other = new Database(file);
  other.run("INSERT INTO notes VALUES ('free')");
  other.close();
});
