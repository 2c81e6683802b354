/** From text to an answer with nothing but the binary: what a user does on the first day. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import { NAMESPACE, type Place, trainedPlace } from "./binary.ts";

let place: Place;
beforeAll(async () => {
  place = await trainedPlace();
}, 60_000);
afterAll(() => place.remove());

test("version says that it is compiled", async () => {
  expect(await place.json(["version"])).toMatchObject({
    schema: "magnet.version/1",
    compiled: true,
  });
});

test.skipIf(!NAMESPACE)("it opens no file of the repository it was built in", async () => {
  const repository = fs.realpathSync(`${import.meta.dir}/../..`);
  const child = place.start(["chat", "run"]); // stdin is empty: it loads the model and ends
  expect(await child.exited).toBe(0);
  const seen = Bun.spawnSync([
    ...NAMESPACE!,
    "sh",
    "-c",
    `mount -t tmpfs none "${repository}" && ls -A "${repository}"`,
  ]);
  expect(seen.stdout.toString()).toBe(""); // so every test here ran without it
});

test("the training run left a checkpoint, its metrics and its data", async () => {
  const metrics = fs.readFileSync(place.at("run/metrics.jsonl"), "utf8").trimEnd().split("\n");
  expect(metrics.length).toBeGreaterThanOrEqual(1);
  const inspected = await place.json(["data", "inspect", "run/data"]);
  expect(inspected).toMatchObject({ schema: "magnet.data/1", vocab_size: 400 });
});

test("tokenizer: train, encode and decode give the text back", async () => {
  const train = ["tokenizer", "train", "text.txt", "--vocab-size", "350", "--out", "t.json"];
  expect(await place.json(train)).toMatchObject({ vocab_size: 350 });
  const sample = "größe 漢字 🦊 w5x1";
  const encoded = await place.json(["tokenizer", "encode", "t.json", sample]);
  const ids = (encoded.ids as number[]).join(",");
  expect(await place.json(["tokenizer", "decode", "t.json", ids])).toMatchObject({ text: sample });
});

test("data prepare and eval on held-out text", async () => {
  const prepare = ["data", "prepare", "text.txt", "--tokenizer", "run/data/tokenizer.json"];
  await place.json([...prepare, "--out", "data"]);
  const measured = await place.json(["eval", "run", "--data", "data"]);
  expect(measured.schema).toBe("magnet.eval/1");
  expect(measured.loss as number).toBeLessThan(Math.log(400)); // better than guessing
});

test("chat on the checkpoint, its GGUF and its Hugging Face folder; the ternary forms agree", async () => {
  await place.json(["export", "hf", "run", "--out", "hf"]);
  const ask = (model: string) =>
    place.json(["chat", model, "--prompt", "w5x1", "--max-tokens", "6", "--temperature", "0"]);
  for (const model of ["run", "m.gguf", "hf"])
    expect(await ask(model)).toMatchObject({ schema: "magnet.chat/1" });
  const logits = async (model: string) =>
    (await place.json(["eval", "logits", model, "--tokens", "1,2,3"])).logits as number[][];
  expect((await logits("hf")).map((row) => row.length)).toEqual([400, 400, 400]);
  expect(await logits("hf")).toEqual(await logits("run"));
});

test("keys, configuration, network file and doctor in an empty HOME", async () => {
  const key = await place.json(["keys", "create"]);
  const member = ["--member", key.public_key as string];
  await place.json(["network", "create", "--name", "lab", ...member, "--out", "net.json"]);
  const shown = await place.json(["network", "show", "net.json"]);
  expect(JSON.stringify(shown)).toContain(key.public_key as string);
  expect(await place.json(["config", "check"])).toMatchObject({ ok: true });
  const doctor = await place.run(["doctor", "--json"]);
  expect(JSON.parse(doctor.stdout).schema).toBe("magnet.doctor/1");
});
