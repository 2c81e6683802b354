/**
 * What a node must not forget: whole after every kind of crash, refused when it is not readable.
 */
import { afterEach, expect, spyOn, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { CurrentState } from "../../src/agent/current-state.ts";
import { lockDataDir } from "../../src/agent/data-lock.ts";
import { openDurableState, replaceFileSync } from "../../src/agent/durable-state.ts";
import { sha256Hex } from "../../src/core/bytes.ts";
import { MagnetError } from "../../src/core/errors.ts";
import type { Hash } from "../../src/core/types.ts";
import { BlobStore } from "../../src/storage/blobs.ts";
import { hostDisk } from "../../src/storage/disk.ts";
import { makeFolder } from "./real-nodes.ts";

const restore: (() => void)[] = [];
afterEach(() => {
  for (const undo of restore.splice(0)) undo();
});

const codeOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return error instanceof MagnetError
      ? error.code
      : ((error as { code?: string }).code ?? "none");
  }
  return "no error";
};

test("what was persisted is loaded again, and the files are private", () => {
  const folder = path.join(makeFolder(), "state");
  const state = openDurableState(folder);
  expect(state.load()).toEqual({});
  state.persist("election", { round: 3 });
  state.persist("peers", ["a"]);
  state.persist("election", { round: 4 });
  expect(openDurableState(folder).load()).toEqual({ election: { round: 4 }, peers: ["a"] });
  expect(fs.statSync(path.join(folder, "election.json")).mode & 0o777).toBe(0o600);
});

test("a write that fails at any step leaves the record before it, whole", () => {
  const folder = makeFolder();
  const file = path.join(folder, "record.json");
  replaceFileSync(file, "before");
  const full = () => {
    throw Object.assign(new Error("no space"), { code: "ENOSPC" });
  };
  for (const step of ["openSync", "writeFileSync", "fsyncSync", "renameSync"] as const) {
    const spy = spyOn(fs, step).mockImplementation(full as never);
    restore.push(() => spy.mockRestore());
    expect(codeOf(() => replaceFileSync(file, "after"))).toBe("ENOSPC");
    spy.mockRestore();
    expect(fs.readFileSync(file, "utf8")).toBe("before");
  }
  replaceFileSync(file, "after");
  expect(fs.readFileSync(file, "utf8")).toBe("after");
});

test("each step is durable before the next: content, then name, then folder", () => {
  const order: string[] = [];
  for (const step of ["writeFileSync", "fsyncSync", "renameSync"] as const) {
    const real = fs[step] as (...args: unknown[]) => unknown;
    const spy = spyOn(fs, step).mockImplementation(((...args: unknown[]) => {
      order.push(step);
      return real(...args);
    }) as never);
    restore.push(() => spy.mockRestore());
  }
  replaceFileSync(path.join(makeFolder(), "record.json"), "text");
  expect(order).toEqual(["writeFileSync", "fsyncSync", "renameSync", "fsyncSync"]);
});

test("every cut of a record is refused, never half believed", () => {
  const folder = path.join(makeFolder(), "state");
  const state = openDurableState(folder);
  state.persist("election", { round: 12, view: 1 });
  const file = path.join(folder, "election.json");
  const whole = fs.readFileSync(file, "utf8");
  for (let length = 0; length < whole.length; length++) {
    fs.writeFileSync(file, whole.slice(0, length));
    expect(codeOf(() => state.load())).toBe("STATE_CORRUPT");
  }
  fs.writeFileSync(file, whole);
  fs.writeFileSync(`${file}.tmp`, whole.slice(0, 5)); // a crash before the rename
  expect(state.load()).toEqual({ election: { round: 12, view: 1 } });
});

test("the list of states keeps two, forgets lost blobs, and survives being damaged", async () => {
  const folder = makeFolder();
  fs.mkdirSync(path.join(folder, "state"));
  const blobs = await BlobStore.open({ folder: path.join(folder, "store"), disk: hostDisk });
  const put = async (text: string) => (await blobs.put(new TextEncoder().encode(text))).hash;
  const [a, b, c] = [await put("a"), await put("b"), await put("c")];
  const job_id = sha256Hex("job") as Hash;
  const current = new CurrentState(folder, blobs);
  expect(current.adopt({ state_hash: a!, job_id, round: 0 })).toEqual([]);
  expect(current.adopt({ state_hash: b!, job_id, round: 1 })).toEqual([]);
  expect(current.adopt({ state_hash: b!, job_id, round: 2 })).toEqual([]); // a void round
  expect(current.adopt({ state_hash: c!, job_id, round: 3 })).toEqual([a!]);
  const hashes = () => new CurrentState(folder, blobs).states.map(({ state_hash }) => state_hash);
  expect(hashes()).toEqual([c!, b!]);
  await blobs.delete(c!);
  expect(hashes()).toEqual([b!]);
  fs.writeFileSync(path.join(folder, "state", "current.json"), '{"states":[');
  expect(hashes()).toEqual([]);
});

test("a data folder is locked once, and free again after the unlock", () => {
  const folder = makeFolder();
  const unlock = lockDataDir(folder);
  expect(codeOf(() => lockDataDir(folder))).toBe("NODE_RUNNING");
  unlock();
  lockDataDir(folder)();
  fs.writeFileSync(path.join(folder, "node.pid"), String(process.pid)); // of a killed process
  lockDataDir(folder)();
});
