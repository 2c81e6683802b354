/**
 * SIGKILL of a node that audits and is audited, again and again: what was due is done after the
 * restart, what the node had committed to can still be audited, and no honest node is found wrong.
 */
import { afterAll, afterEach, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import type { AuditCounts } from "../../src/agent/training-audits/book.ts";
import { systemRandom } from "../../src/core/random.ts";
import { type ControlClient, connectControl } from "../../src/http/control-client.ts";
import { openIdentity } from "../../src/network/key-storage.ts";
import { AUDIT_LIMIT_MS } from "./audited-network.ts";
import { makeFolder, makeJob, TestNetwork } from "./real-nodes.ts";

const home = makeFolder();
interface Child {
  data_dir: string;
  process: Bun.Subprocess;
  address: string;
  control: ControlClient;
}
const children = new Set<Bun.Subprocess>();
const killAll = async () => {
  for (const child of children) {
    child.kill("SIGKILL");
    await child.exited;
  }
  children.clear();
};
afterEach(killAll);
afterAll(killAll);

async function eventually<T>(what: string, read: () => Promise<T | undefined | false>): Promise<T> {
  const end = performance.now() + AUDIT_LIMIT_MS;
  for (;;) {
    const value = await read();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await Bun.sleep(25);
  }
}

let starts = 0;
async function start(data_dir: string, network_file: string, peer?: Child): Promise<Child> {
  const ready_file = path.join(home, `ready-${starts++}.json`);
  const options = { data_dir, network_file, peer: peer?.address ?? null, ready_file };
  const script = path.join(import.meta.dir, "audited-process.ts");
  const child = Bun.spawn([process.execPath, script, JSON.stringify(options)], {
    cwd: home,
    env: { PATH: process.env.PATH!, HOME: home },
    stdout: "ignore",
    stderr: Bun.file(path.join(home, "log")),
  });
  children.add(child);
  const { address } = await eventually("a ready file", async () => {
    if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode}`);
    return fs.existsSync(ready_file) && JSON.parse(fs.readFileSync(ready_file, "utf8"));
  });
  return { data_dir, process: child, address, control: connectControl(data_dir) };
}

type Status = { round: number; audits: AuditCounts & { left_out: unknown[] } };
const statusOf = async ({ control }: Child) => (await control.get("/v1/status")) as Status;

test(
  "a killed node does the audits that were due, and is audited for what it had committed to",
  async () => {
    const folders = [0, 1, 2].map((i) => path.join(home, `node-${i}`));
    const roster = folders.map((dir) => {
      fs.mkdirSync(dir, { mode: 0o700 });
      return openIdentity({ dir }, systemRandom).identity.public_key;
    });
    const network_file = path.join(home, "net.json");
    fs.writeFileSync(network_file, JSON.stringify({ ...new TestNetwork(1).network, roster }));
    const first = await start(folders[0]!, network_file);
    let victim = await start(folders[1]!, network_file, first);
    const third = await start(folders[2]!, network_file, first);
    const { job, files } = await makeJob({ rounds: 1000 });
    await first.control.post("/v1/jobs", { job, files });
    await eventually("audits to pass", async () => (await statusOf(third)).audits.passed >= 2);
    for (let kills = 0; kills < 3; kills++) {
      const before = await eventually("an audit to be due", async () => {
        const { audits } = await statusOf(victim);
        return audits.due > 0 && audits;
      });
      victim.process.kill("SIGKILL");
      await victim.process.exited;
      children.delete(victim.process);
      victim = await start(folders[1]!, network_file, first);
      // It knows what it had done; a moment's worth of commits may be lost.
      const after = (await statusOf(victim)).audits;
      expect(after.passed).toBeGreaterThanOrEqual(before.passed - 1);
      const { passed } = after;
      await eventually("the killed node to audit again", async () => {
        const { audits } = await statusOf(victim);
        return audits.passed >= passed + 2;
      });
    }
    for (const child of [first, victim, third]) {
      const { audits } = await statusOf(child);
      expect(audits).toMatchObject({ wrong: 0, confirmed: 0, false_claims: 0, left_out: [] });
    }
  },
  4 * AUDIT_LIMIT_MS,
);
