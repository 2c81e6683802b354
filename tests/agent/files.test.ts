/** Network files, job specifications and offers: what is wrong is said with the field's name. */
import { expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { type JobSpec, jobId, jobSpecSchema } from "../../src/agent/job.ts";
import { jobOfferOf, readJobOffer } from "../../src/agent/job-registry.ts";
import { joinedNetwork } from "../../src/agent/joined-network.ts";
import { networkConfigHash, readNetworkFile } from "../../src/agent/network-file.ts";
import { canonicalJson, sha256Hex } from "../../src/core/bytes.ts";
import { MagnetError } from "../../src/core/errors.ts";
import type { Hash, PublicKey } from "../../src/core/types.ts";
import { PRESETS } from "../../src/model/config.ts";
import { makeFolder } from "./real-nodes.ts";

const KEY_A = `02${"ab".repeat(32)}` as PublicKey;
const KEY_B = `03${"cd".repeat(32)}` as PublicKey;
const hash = (text: string) => sha256Hex(text) as Hash;

const failureOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    if (error instanceof MagnetError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "no error";
};

const JOB: JobSpec = {
  schema: "magnet.job/1",
  name: "job",
  model: PRESETS.tiny!,
  tokenizer_hash: hash("tokenizer"),
  train_hash: hash("train"),
  heldout_hash: hash("heldout"),
  rounds: 2,
  inner_steps: 10,
  batch: 4,
  inner: {
    lr: 0.001,
    schedule: "wsd",
    beta1: 0.9,
    beta2: 0.99,
    eps: 1e-8,
    weight_decay: 0.1,
    clip: 1,
  },
  outer: { lr: 0.7, momentum: 0.9 },
  compression: "int4",
  round_deadline_ms: 60_000,
  heldout_sequences: 8,
  seed: 1,
};

function write(content: unknown): string {
  const file = path.join(makeFolder(), "net.json");
  fs.writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
  return file;
}
const NETWORK = { schema: "magnet.network/1", id: "lab", roster: [KEY_A, KEY_B] };

test("a network file gets its defaults, and its hash covers all but the addresses", () => {
  const network = readNetworkFile(write(NETWORK));
  expect(network.timing.heartbeat_ms).toBe(1000);
  expect(network.storage).toEqual({ data_shards: 4, parity_shards: 2 });
  const base = networkConfigHash(network);
  const withAddress = { ...NETWORK, bootstrap: [{ address: "10.0.0.1:7700" }] };
  expect(networkConfigHash(readNetworkFile(write(withAddress)))).toBe(base);
  const turned = { ...NETWORK, roster: [KEY_B, KEY_A] };
  expect(networkConfigHash(readNetworkFile(write(turned)))).toBe(base);
  for (const change of [{ id: "lab2" }, { roster: [KEY_A] }, { timing: { grace_ms: 1 } }])
    expect(networkConfigHash(readNetworkFile(write({ ...NETWORK, ...change })))).not.toBe(base);
});

test("the ledger is a part of the network's rules, whatever the case of its addresses", () => {
  const contracts = Object.fromEntries(
    [
      ...["mag_token", "vote_mag", "governor", "timelock", "params"],
      ...["nodes", "epochs", "disputes", "data_registry", "revenue"],
    ].map((name, i) => [name, `0x${"aB".repeat(19)}0${i}`]),
  );
  const ledger = { chain_id: 1, contracts, block: 3, epoch_seconds: 600, genesis: 1_700_000_000 };
  const hashOf = (content: unknown) => networkConfigHash(readNetworkFile(write(content)));
  const base = hashOf({ ...NETWORK, ledger });
  expect(base).not.toBe(hashOf(NETWORK));
  const lower = JSON.parse(JSON.stringify(ledger).toLowerCase()) as object;
  expect(hashOf({ ...NETWORK, ledger: lower })).toBe(base);
  expect(hashOf({ ...NETWORK, ledger: { ...ledger, genesis: 1 } })).not.toBe(base);
  const refused = (change: object) =>
    failureOf(() => readNetworkFile(write({ ...NETWORK, ledger: { ...ledger, ...change } })));
  expect(refused({ chain_id: 0 })).toContain("ledger.chain_id");
  expect(refused({ contracts: { ...contracts, nodes: "0x12" } })).toContain(
    "ledger.contracts.nodes",
  );
  expect(refused({ rpc_url: "http://x" })).toContain("ledger: Unrecognized key");
});

test("what is wrong with a network file is named", () => {
  const failure = (content: unknown) => failureOf(() => readNetworkFile(write(content)));
  expect(failure("{")).toContain("is not JSON");
  expect(failure([])).toStartWith("NETWORK_FILE_INVALID");
  expect(failure({ ...NETWORK, id: "Lab!" })).toContain("id: lower-case letters");
  expect(failure({ ...NETWORK, roster: [] })).toContain("roster");
  expect(failure({ ...NETWORK, roster: ["02ab"] })).toContain("roster.0");
  expect(failure({ ...NETWORK, roster: [KEY_A, KEY_A] })).toContain("twice");
  expect(failure({ ...NETWORK, extra: 1 })).toContain("extra");
  expect(failure({ ...NETWORK, timing: { heartbeat_ms: 1 } })).toContain("timing.heartbeat_ms");
  expect(failure(" ".repeat((4 << 20) + 1))).toContain("4194304 bytes");
});

test("a data folder that has voted belongs to its network", () => {
  const data_dir = makeFolder();
  const options = { data_dir, name: "alone", public_key: KEY_A };
  const first = joinedNetwork({ ...options, file: "" });
  expect(first.network).toMatchObject({ id: "alone", roster: [KEY_A] });
  const lab = write(NETWORK);
  // Nothing was promised yet: another network may still be joined, and is remembered.
  expect(joinedNetwork({ ...options, file: lab }).network.id).toBe("lab");
  expect(joinedNetwork({ ...options, file: "" }).network.id).toBe("lab");
  fs.mkdirSync(path.join(data_dir, "state"));
  fs.writeFileSync(path.join(data_dir, "state", "election.json"), "{}");
  expect(joinedNetwork({ ...options, file: lab }).network.id).toBe("lab");
  const other = write({ ...NETWORK, id: "other" });
  expect(failureOf(() => joinedNetwork({ ...options, file: other }))).toStartWith(
    "NETWORK_DIFFERS",
  );
});

test("a job is refused by the field that is wrong", () => {
  const issue = (change: object) => {
    const { error } = jobSpecSchema.safeParse({ ...JOB, ...change });
    return error?.issues[0]?.path.join(".");
  };
  expect(issue({})).toBeUndefined();
  expect(issue({ rounds: 0 })).toBe("rounds");
  expect(issue({ train_hash: "ab" })).toBe("train_hash");
  expect(issue({ inner: { ...JOB.inner, lr: Number.NaN } })).toBe("inner.lr");
  expect(issue({ outer: { lr: 0.7, momentum: 1 } })).toBe("outer.momentum");
  expect(issue({ compression: "int2" })).toBe("compression");
  expect(issue({ model: { ...JOB.model, d_model: -1 } })).toBe("model.d_model");
  expect(issue({ seed: 2 ** 32 })).toBe("seed");
});

test("a job's identity does not depend on the order of its fields", () => {
  const turned = Object.fromEntries(Object.entries(JOB).reverse()) as JobSpec;
  expect(jobId(turned)).toBe(jobId(JOB));
  expect(jobId({ ...JOB, seed: 2 })).not.toBe(jobId(JOB));
});

test("an offer that does not say what its specification says is refused", () => {
  const offer = jobOfferOf(JOB, hash("base"));
  expect(readJobOffer(offer)).toEqual(JOB);
  const failure = (change: object) => failureOf(() => readJobOffer({ ...offer, ...change }));
  for (const field of ["rounds", "inner_steps", "round_deadline_ms", "seed"] as const)
    expect(failure({ [field]: 77 })).toContain("the offer and its specification differ");
  expect(failure({ job_id: hash("other") })).toContain("not the hash");
  expect(failure({ spec: "{" })).toContain("not JSON");
  const loose = JSON.stringify(JSON.parse(offer.spec), null, 1);
  expect(failure({ spec: loose, job_id: sha256Hex(loose) })).toContain("not the hash");
  const more = canonicalJson({ ...JOB, more: 1 });
  expect(failure({ spec: more, job_id: sha256Hex(more) })).toStartWith("JOB_INVALID");
});
