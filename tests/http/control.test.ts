/**
 * The control interface through its client: who may use it, what it refuses, and what it answers.
 */
import { afterEach, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { MagnetError } from "../../src/core/errors.ts";
import { systemRandom } from "../../src/core/random.ts";
import { connectControl } from "../../src/http/control-client.ts";
import { controlFile, type NodeControl, serveControl } from "../../src/http/control-server.ts";
import { makeFolder } from "../agent/real-nodes.ts";

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

const failureOf = async (work: Promise<unknown>): Promise<MagnetError> => {
  try {
    await work;
  } catch (error) {
    if (error instanceof MagnetError) return error;
    throw error;
  }
  throw new Error("a failure was expected");
};

/** A control interface whose answers the test chooses. */
function serve(overrides: Partial<NodeControl> = {}) {
  const data_dir = makeFolder();
  const calls: unknown[] = [];
  const control: NodeControl = {
    status: () => ({ phase: "idle" }),
    peers: () => ({ peers: [] }),
    rounds: () => ({ rounds: [] }),
    ledger: async () => ({ ledger: true }),
    ledgerEpoch: async (epoch) => ({ epoch }),
    storage: () => ({ objects: [] }),
    submitJob: async (request) => {
      calls.push(request);
      return { job_id: "x" };
    },
    blobPath: () => undefined,
    restoreObject: async () => ({}),
    research: {
      nodes: async () => ({ nodes: [] }),
      share: async (request) => {
        calls.push(request);
        return { task: null };
      },
      trial: async () => ({ result: null }),
      outputsPath: () => undefined,
    },
    stop: () => calls.push("stop"),
    ...overrides,
  };
  const server = serveControl(control, { data_dir, random: systemRandom });
  closing.push(() => server.close());
  return { data_dir, server, calls, client: connectControl(data_dir) };
}

test("only the token of control.json opens it, and the file is private", async () => {
  const { data_dir, server, client } = serve();
  expect(await client.get("/v1/status")).toEqual({ phase: "idle" });
  expect(fs.statSync(controlFile(data_dir)).mode & 0o777).toBe(0o600);
  const { token } = JSON.parse(fs.readFileSync(controlFile(data_dir), "utf8")) as { token: string };
  for (const authorization of [
    "",
    "Bearer ",
    `Bearer ${token}0`,
    token,
    `Bearer ${"0".repeat(64)}`,
  ]) {
    for (const route of ["/v1/status", "/v1/stop", "/nothing"]) {
      const response = await fetch(server.url + route, { headers: { authorization } });
      expect(response.status).toBe(401);
      await response.text();
    }
  }
  expect(server.url).toStartWith("http://127.0.0.1:");
});

test("each start has its own token", () => {
  const read = ({ data_dir }: { data_dir: string }) =>
    fs.readFileSync(controlFile(data_dir), "utf8");
  expect(read(serve())).not.toBe(read(serve()));
});

test("errors keep code, message, hint and exit code on their way to the command", async () => {
  const sent = new MagnetError("JOB_REFUSED", "too many jobs wait", {
    hint: "later",
    retryable: true,
    exit: "retry",
  });
  const { client } = serve({ submitJob: () => Promise.reject(sent) });
  const got = await failureOf(client.post("/v1/jobs", {}));
  const parts = ({ code, message, hint, retryable, exit }: MagnetError) => ({
    code,
    message,
    hint,
    retryable,
    exit,
  });
  expect(parts(got)).toEqual(parts(sent));
  const broken = serve({
    status: () => {
      throw new TypeError("a bug");
    },
  });
  expect((await failureOf(broken.client.get("/v1/status"))).code).toBe("INTERNAL");
  expect((await failureOf(client.get("/v1/none"))).code).toBe("NO_SUCH_ROUTE");
});

test("bodies that are no JSON, or too long, do not reach the node", async () => {
  const { server, data_dir, calls } = serve();
  const { token } = JSON.parse(fs.readFileSync(controlFile(data_dir), "utf8")) as { token: string };
  const post = (body: string) =>
    fetch(`${server.url}/v1/jobs`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}` },
      body,
    });
  const bad = await post("{");
  expect(bad.status).toBe(400);
  expect(await bad.json()).toMatchObject({ error: { code: "REQUEST_INVALID" } });
  const long = await post(JSON.stringify({ text: "x".repeat(2 << 20) }));
  expect(long.status).toBe(413);
  await long.text();
  expect(calls).toEqual([]);
});

test("a blob is delivered byte by byte; an absent or ill-named one is not found", async () => {
  const folder = makeFolder();
  const bytes = systemRandom.bytes(300_000);
  fs.writeFileSync(path.join(folder, "blob"), bytes);
  const known = "ab".repeat(32);
  const { client } = serve({
    blobPath: (hash) => (hash === known ? path.join(folder, "blob") : undefined),
  });
  const got = new Uint8Array(await (await client.blob(known)).arrayBuffer());
  expect(Buffer.compare(got, bytes)).toBe(0);
  expect((await failureOf(client.blob("cd".repeat(32)))).code).toBe("NOT_FOUND");
  expect((await failureOf(client.blob("../../etc/passwd"))).code).toBe("NO_SUCH_ROUTE");
});

test("stop answers before it stops", async () => {
  const stopped = Promise.withResolvers<void>();
  const { client } = serve({ stop: () => stopped.resolve() });
  expect(await client.post("/v1/stop")).toEqual({ stopping: true });
  await stopped.promise;
});

test("without a node the client says which folder has none", async () => {
  const empty = makeFolder();
  const connect = async () => connectControl(empty);
  expect((await failureOf(connect())).code).toBe("NODE_NOT_RUNNING");
  fs.writeFileSync(controlFile(empty), "{");
  expect((await failureOf(connect())).code).toBe("NODE_NOT_RUNNING");
  const { data_dir, server, client } = serve();
  const left_over = fs.readFileSync(controlFile(data_dir));
  await server.close();
  expect(fs.existsSync(controlFile(data_dir))).toBe(false);
  fs.writeFileSync(controlFile(data_dir), left_over); // as after a SIGKILL
  const failure = await failureOf(client.get("/v1/status"));
  expect(failure.code).toBe("NODE_NOT_RUNNING");
  expect(failure.message).toContain(data_dir);
  expect(failure.exit).toBe("unreachable");
});
