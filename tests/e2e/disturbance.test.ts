/**
 * What happens around a command: signals, kill -9, full disks, folders and ports that are taken.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import { NAMESPACE, type Place, trainedPlace } from "./binary.ts";

let place: Place;
beforeAll(async () => {
  place = await trainedPlace();
}, 60_000);
afterAll(() => place.remove());

const OPTIONS = ["--data", "run/data", "--model", "model.json", "--batch", "4", "--seed", "5"];
const trainInto = (out: string, ...more: string[]) => ["train", ...OPTIONS, "--out", out, ...more];

/** Starts a run, waits until `count` of its records were printed, and does something to it. */
async function disturb(args: string[], schema: string, count: number, act: (pid: number) => void) {
  const child = place.start([...args, "--json"]);
  let stdout = "";
  let done = false;
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    stdout += decoder.decode(chunk, { stream: true });
    if (done || stdout.split(schema).length - 1 < count) continue;
    done = true;
    act(child.pid);
  }
  return { code: await child.exited, stdout };
}
const hashOf = async (args: string[]) => (await place.json(args)).checkpoint_hash as string;

describe("train", () => {
  const steps = ["--steps", "150", "--checkpoint-every", "10"];

  test("kill -9 in the middle: --resume ends with the hash of a run left alone", async () => {
    const straight = await hashOf(trainInto("straight", ...steps));
    const kill = (pid: number) => process.kill(pid, "SIGKILL");
    const killed = await disturb(trainInto("killed", ...steps), "magnet.train_step/1", 35, kill);
    expect(killed.code).toBe(137);
    const resumed = await hashOf(["train", "--resume", "--data", "run/data", "--out", "killed"]);
    expect(resumed).toBe(straight);
  }, 60_000);

  test("SIGTERM saves and says so with exit 130; --resume goes on", async () => {
    const term = (pid: number) => process.kill(pid, "SIGTERM");
    const ended = await disturb(trainInto("termed", ...steps), "magnet.train_step/1", 20, term);
    expect(ended.code).toBe(130);
    const last = JSON.parse(ended.stdout.trimEnd().split("\n").at(-1)!);
    expect(last).toMatchObject({ schema: "magnet.train/1", ended: "aborted" });
    expect(fs.readdirSync(place.at("termed/checkpoints")).length).toBeGreaterThan(0);
    const resume = ["train", "--resume", "--data", "run/data", "--out", "termed"];
    expect(await hashOf(resume)).toMatch(/^[0-9a-f]{64}$/);
  }, 60_000);

  test("a reader that goes away, or a full disk behind stdout, ends the run with a checkpoint", async () => {
    const line = [...trainInto("heard", ...steps), "--json"].join(" ");
    const heard = Bun.spawnSync(
      ["bash", "-c", `"$0" ${line} | head -1; exit "\${PIPESTATUS[0]}"`, place.binary],
      { cwd: place.folder, env: place.env },
    );
    expect(heard.exitCode).toBe(0);
    expect(heard.stdout.toString()).toContain("magnet.train_started/1");
    const resume = ["train", "--resume", "--data", "run/data", "--out", "heard"];
    expect(await hashOf(resume)).toMatch(/^[0-9a-f]{64}$/);
    const full = Bun.spawnSync(
      ["bash", "-c", `"$0" ${line.replace("heard", "full-out")} > /dev/full`, place.binary],
      { cwd: place.folder, env: place.env },
    );
    expect(full.exitCode).toBe(1);
    expect(fs.existsSync(place.at("full-out/checkpoints/latest"))).toBe(true);
  }, 60_000);

  test("a second run into the same folder is refused; the first ends undisturbed", async () => {
    let second: Promise<{ code: string }> | undefined;
    const first = await disturb(trainInto("two", ...steps), "magnet.train_step/1", 5, () => {
      second = place.failure(trainInto("two", ...steps));
    });
    expect(first.code).toBe(0);
    expect((await second!).code).toMatch(/^OUT_(IN_USE|BUSY)$/);
  }, 60_000);
});

test("a folder that cannot be written", async () => {
  const tokenizer = ["--tokenizer", "run/data/tokenizer.json"];
  for (const args of [
    trainInto("/proc/nowhere", "--steps", "2"),
    ["data", "prepare", "text.txt", ...tokenizer, "--out", "/proc/nowhere"],
    ["export", "gguf", "run", "--type", "f16", "--out", "/proc/nowhere/m.gguf"],
    ["export", "hf", "run", "--out", "/proc/nowhere"],
    ["tokenizer", "train", "text.txt", "--vocab-size", "300", "--out", "/proc/nowhere/t.json"],
    ["join", "--listen", "127.0.0.1:0", "--data-dir", "/proc/nowhere"],
    ["keys", "create", "--data-dir", "/proc/nowhere"],
    ["config", "set", "log.level", "debug", "--config", "/proc/nowhere/c.toml"],
  ])
    expect((await place.failure(args)).code).toMatch(/^NOT_(FOUND|PERMITTED)$/);
});

test("join: a port in use", async () => {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const listen = ["--listen", `127.0.0.1:${server.port}`, "--data-dir", "node"];
  expect((await place.failure(["join", ...listen])).code).toBe("PORT_IN_USE");
  server.stop();
});

test("join: ready, then SIGTERM ends it and leaves the folder free", async () => {
  for (let start = 0; start < 2; start++) {
    const child = place.start(["join", "--listen", "127.0.0.1:0", "--data-dir", "node2", "--json"]);
    for await (const chunk of child.stdout) {
      const { schema } = JSON.parse(new TextDecoder().decode(chunk)) as { schema: string };
      expect(schema).toBe("magnet.join/1");
      expect(
        (await place.failure(["join", "--listen", "127.0.0.1:0", "--data-dir", "node2"])).code,
      ).toBe("NODE_RUNNING");
      child.kill("SIGTERM");
    }
    expect([0, 130]).toContain(await child.exited);
  }
}, 60_000);

describe.skipIf(!NAMESPACE)("a full disk (a small tmpfs in a mount namespace)", () => {
  /** Runs with full/ on a disk of `size` that only this command sees. */
  const onSmallDisk = (size: string, args: string[]) => {
    fs.mkdirSync(place.at("full"), { recursive: true });
    return place.failure(args, { prelude: `mount -t tmpfs -o size=${size} none full` });
  };
  const tokenizer = ["--tokenizer", "run/data/tokenizer.json"];
  test.each([
    ["train", "4m", trainInto("full/run", "--steps", "3")],
    ["data prepare", "12k", ["data", "prepare", "text.txt", ...tokenizer, "--out", "full/data"]],
    ["export gguf", "64k", ["export", "gguf", "run", "--type", "tq2_0", "--out", "full/m.gguf"]],
    ["export hf", "64k", ["export", "hf", "run", "--out", "full/hf"]],
    [
      "tokenizer train",
      "4k",
      ["tokenizer", "train", "text.txt", "--vocab-size", "400", "--out", "full/t"],
    ],
    ["join", "4k", ["join", "--listen", "127.0.0.1:0", "--data-dir", "full/node"]],
    ["join", "16k", ["join", "--listen", "127.0.0.1:0", "--data-dir", "full/node"]],
    ["join", "32k", ["join", "--listen", "127.0.0.1:0", "--data-dir", "full/node"]],
  ])("%s on %s", async (_, size, args) => {
    expect(await onSmallDisk(size, args)).toMatchObject({ code: "DISK_FULL", exit: 1 });
  });

  test("a checkpoint that does not fit leaves the last one loadable", async () => {
    const outcome = await place.run(
      trainInto("full/run", "--steps", "30", "--checkpoint-every", "2"),
      {
        prelude:
          'mount -t tmpfs -o size=14m none full; "$@"; ' +
          `${place.binary} chat full/run --prompt x --max-tokens 2 --quiet >/dev/null && echo loadable; set -- true`,
      },
    );
    expect(outcome.stdout).toContain("loadable");
    expect(outcome.stderr).toContain("DISK_FULL: ");
  });
});
