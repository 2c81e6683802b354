/** The run's file: two at once, another run's folder, damage, a full disk, reads that are logged. */
import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { systemClock } from "../../../src/core/clock.ts";
import type { MagnetError } from "../../../src/core/errors.ts";
import {
  outcomeAddress,
  outputBytes,
  recordOf,
} from "../../../src/research/trials/outcome-record.ts";
import { RunReader } from "../../../src/research/trials/run-reader.ts";
import { TrialStore } from "../../../src/research/trials/trial-store.ts";
import type { TrialOutcome } from "../../../src/research/types.ts";
import { toyProposal, toySpec } from "./toy-domain.ts";
import { toyHeader } from "./toy-run.ts";

const folders: string[] = [];
const stores: { close(): void }[] = [];
afterEach(() => {
  for (const store of stores.splice(0)) store.close();
  for (const folder of folders.splice(0)) fs.rmSync(folder, { recursive: true, force: true });
});
const makeFolder = () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-store-"));
  folders.push(folder);
  return folder;
};
function open(folder: string, settings = {}) {
  const store = TrialStore.openFolder(folder, systemClock);
  try {
    store.begin(toyHeader(settings));
  } catch (error) {
    store.close();
    throw error;
  }
  stores.push(store);
  return store;
}
const close = (store: TrialStore) => {
  stores.splice(stores.indexOf(store), 1);
  store.close();
};
const codeOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return (error as MagnetError).code;
  }
  return "no error";
};

const outcome = (over: Partial<TrialOutcome> = {}): TrialOutcome => ({
  ...{ score: 0.5, fold_scores: [0.4, 0.6], outputs: Float32Array.of(0.25, 0.75) },
  ...{ figures: { train_score: 0.9, fit_s: 1.5 }, cpu_s: 2 },
  ...over,
});
function done(store: TrialStore, index: number, value = outcome()) {
  return store.end(index, {
    ...{ state: "done", record: recordOf(value), outputs: outputBytes(value.outputs) },
    ...{ error: null, log: null, cpu_s: value.cpu_s },
  });
}

describe("a run's folder", () => {
  test("is one process's at a time, and readable meanwhile", () => {
    const folder = makeFolder();
    const store = open(folder);
    store.queue(0, [toyProposal({ x: 1 })]);
    expect(codeOf(() => open(folder))).toBe("RUN_BUSY");
    const reader = RunReader.open(folder);
    expect(reader.trials().map((t) => t.state)).toEqual(["queued"]);
    reader.close();
    close(store);
    expect(open(folder).count()).toBe(1);
  });

  test("is refused in words where its file is garbage, damaged, or of another run", () => {
    const garbage = makeFolder();
    fs.writeFileSync(path.join(garbage, "run.db"), "not a database at all, ".repeat(500));
    expect(codeOf(() => open(garbage))).toBe("RUN_CORRUPT");
    expect(codeOf(() => RunReader.open(makeFolder()))).toBe("RUN_NOT_FOUND");

    const folder = makeFolder();
    const store = open(folder, { budget: { trials: 10 } });
    for (let i = 0; i < 200; i++) store.queue(i, [toyProposal({ x: i })]);
    close(store);
    expect(codeOf(() => open(folder, { budget: { trials: 11 } }))).toBe("RUN_DIFFERS");
    const file = path.join(folder, "run.db");
    const bytes = fs.readFileSync(file);
    bytes.fill(0xa5, 4096 * 3, 4096 * 8);
    fs.writeFileSync(file, bytes);
    expect(codeOf(() => open(folder, { budget: { trials: 10 } }))).toBe("RUN_CORRUPT");
  });

  test("of a newer magnet is not touched", () => {
    const folder = makeFolder();
    close(open(folder));
    const database = new Database(path.join(folder, "run.db"));
    database.run("PRAGMA user_version = 99");
    database.close();
    expect(codeOf(() => open(folder))).toBe("RUN_CORRUPT");
  });

  test("on a full disk says so and keeps what it has", () => {
    const store = open(makeFolder());
    store.queue(0, [toyProposal({ x: 0 }), toyProposal({ x: 1 })]);
    done(store, 0);
    // SQLite meets its own limit of pages as it meets a full disk.
    const database = (store as unknown as { database: Database }).database;
    const { page_count } = database.query("PRAGMA page_count").get() as { page_count: number };
    database.run(`PRAGMA max_page_count = ${page_count}`);
    const big = outcome({ outputs: new Float32Array(100_000).fill(0.5) });
    expect(codeOf(() => done(store, 1, big))).toBe("DISK_FULL");
    expect(store.trials().map((t) => t.state)).toEqual(["done", "queued"]);
    expect(store.whole(0)!.outcome!.outputs).toEqual(outcome().outputs);
  });
});

describe("stored trials", () => {
  test("outputs that were damaged on the disk are noticed, and the trial is run again", () => {
    const folder = makeFolder();
    const store = open(folder);
    store.queue(0, [toyProposal({ x: 0 })]);
    done(store, 0);
    const database = new Database(path.join(folder, "run.db"));
    database.run("UPDATE outputs SET bytes = x'0000803f0000803f'");
    database.close();
    expect(store.whole(0)).toBeNull();
    store.forget(0);
    expect(store.trial(0)!.state).toBe("queued");
  });

  test("have an address that a re-run gives again, measured times aside", () => {
    const spec = toySpec({ x: 1 });
    const address = (over: Partial<TrialOutcome>) => outcomeAddress(spec, recordOf(outcome(over)));
    const plain = address({});
    expect(address({ cpu_s: 99, figures: { train_score: 0.9, fit_s: 7 } })).toBe(plain);
    expect(address({ figures: { train_score: 0.8, fit_s: 1.5 } })).not.toBe(plain);
    expect(address({ outputs: Float32Array.of(0.25, 0.7500001) })).not.toBe(plain);
    expect(address({ score: 0.5 + 2 ** -52 })).not.toBe(plain);
  });

  test("outcomes that no score can be made of are refused", () => {
    for (const over of [
      { score: Number.NaN },
      { score: Number.POSITIVE_INFINITY },
      { fold_scores: [0.5, Number.NaN] },
      { outputs: Float32Array.of(Number.NaN) },
      { figures: { text: "x".repeat(2 << 20) } },
    ])
      expect(codeOf(() => recordOf(outcome(over)))).toBe("BAD_OUTCOME");
  });
});

describe("a step done once", () => {
  test("is noted before it begins, and answered from the store afterwards", async () => {
    const folder = makeFolder();
    const store = open(folder);
    let seen: unknown;
    const answer = await store.once("gate/0", () => {
      seen = store.steps();
      return { answer: 0.1 + 0.2, nothing: undefined };
    });
    expect(seen).toMatchObject([{ key: "gate/0", attempts: 1, done: false }]);
    expect(answer).toEqual({ answer: 0.1 + 0.2 } as never);
    close(store);
    const again = open(folder);
    const known = await again.once("gate/0", () => {
      throw new Error("the gate must not be read again");
    });
    expect(known).toEqual(answer as never);
  });

  test("that was interrupted is done again, and the log shows both", async () => {
    const store = open(makeFolder());
    const broken = store.once("sealed", () => {
      throw new Error("killed here");
    });
    expect(await broken.catch((error: Error) => error.message)).toBe("killed here");
    expect(await store.once("sealed", () => 1)).toBe(1);
    expect(store.steps()).toMatchObject([{ key: "sealed", attempts: 2, done: true }]);
    await store.once("prior/0", () => ({}));
    expect(store.reads()).toEqual([
      { part: "sealed", key: "sealed" },
      { part: "sealed", key: "sealed" },
    ]);
  });
});
