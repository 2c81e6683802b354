/** What a real node answers and refuses on its control interface. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { MagnetError } from "../../src/core/errors.ts";
import { systemRandom } from "../../src/core/random.ts";
import { type ControlClient, connectControl } from "../../src/http/control-client.ts";
import { type ControlServer, serveControl } from "../../src/http/control-server.ts";
import { type Member, makeFolder, makeJob, TestNetwork, until } from "../agent/real-nodes.ts";

const network = new TestNetwork(1, 0, 31, { data_shards: 1, parity_shards: 1 });
let member: Member;
let server: ControlServer;
let client: ControlClient;
beforeAll(async () => {
  await network.start();
  member = network.members[0]!;
  const { data_dir } = member;
  server = serveControl(member.control, { data_dir, random: systemRandom });
  client = connectControl(data_dir);
});
afterAll(async () => {
  await server.close();
  await network.stop();
});

const codeOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
  } catch (error) {
    if (error instanceof MagnetError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "no error";
};

test("a job goes in, its rounds and its checkpoint come out, and it is not run twice", async () => {
  const { job, files } = await makeJob({ rounds: 2 });
  expect(await codeOf(client.post("/v1/jobs", { job, files: {} }))).toStartWith("BLOB_MISSING");
  const swapped = { ...files, [job.train_hash]: files[job.heldout_hash]! };
  expect(await codeOf(client.post("/v1/jobs", { job, files: swapped }))).toStartWith(
    "BLOB_CORRUPT",
  );
  const absent = { ...files, [job.train_hash]: "/no/such/file" };
  expect(await codeOf(client.post("/v1/jobs", { job, files: absent }))).toStartWith("NOT_FOUND");
  const { job_id } = (await client.post("/v1/jobs", { job, files })) as { job_id: string };
  await until("both rounds", () => member.states.length === 2);
  await until("their losses", () =>
    member.running.history.records.every(({ loss_merged }) => loss_merged !== null),
  );
  const { rounds } = (await client.get("/v1/rounds")) as { rounds: Record<string, unknown>[] };
  expect(rounds.map((round) => round.job_id)).toEqual([job_id, job_id]);
  const status = (await client.get("/v1/status")) as Record<string, unknown>;
  expect(status).toMatchObject({ in_roster: true, alive: 1, quorum: 1, phase: "idle" });
  const state_hash = rounds[1]!.state_hash as string;
  expect(status.state_hash).toBe(state_hash);
  const bytes = new Uint8Array(await (await client.blob(state_hash)).arrayBuffer());
  expect(new Bun.CryptoHasher("sha256").update(bytes).digest("hex")).toBe(state_hash);
  expect(await codeOf(client.post("/v1/jobs", { job, files }))).toStartWith("JOB_FINISHED");
}, 20_000);

test("a checkpoint is restored into a folder; unknown objects and bad requests are refused", async () => {
  await until(
    "the checkpoint to be stored",
    () => member.running.machine.keeper.health().length > 0,
  );
  const { objects } = (await client.get("/v1/storage")) as { objects: { cid: string }[] };
  const folder = path.join(makeFolder(), "restored");
  const request = { cid: objects[0]!.cid, folder };
  const answer = (await client.post("/v1/objects/restore", request)) as Record<string, string>;
  expect(fs.statSync(answer.file!).size).toBe(answer.size_bytes as unknown as number);
  expect(member.states).toContain(answer.content_hash!);
  const restore = (body: unknown) => codeOf(client.post("/v1/objects/restore", body));
  expect(await restore({ cid: "none", folder })).toStartWith("NOT_FOUND");
  expect(await restore({ cid: objects[0]!.cid })).toStartWith("REQUEST_INVALID: folder");
  expect(await restore([])).toStartWith("REQUEST_INVALID");
});

test("a job's wrong field is named", async () => {
  const { job, files } = await makeJob({ seed: 3 });
  const submit = (change: object) =>
    codeOf(client.post("/v1/jobs", { job: { ...job, ...change }, files }));
  expect(await submit({ rounds: 0 })).toStartWith("REQUEST_INVALID: job.rounds");
  expect(await submit({ surprise: 1 })).toStartWith("REQUEST_INVALID: job");
  const small = { ...job.model, vocab_size: job.model.vocab_size - 1 };
  expect(await submit({ model: small })).toStartWith("TOKENIZER_MISMATCH");
});
