/**
 * A node in a process of its own that takes part in audits of every contribution; a test kills it.
 * The argument is JSON: data folder, network file, peer to knock at or null, file that is written
 * once it is up.
 */
import fs from "node:fs";
import { networkFileSchema } from "../../src/agent/network-file.ts";
import { startNode } from "../../src/agent/runtime.ts";
import { systemClock } from "../../src/core/clock.ts";
import { systemRandom } from "../../src/core/random.ts";
import { serveControl } from "../../src/http/control-server.ts";
import { nodeControl } from "../../src/http/node-control.ts";
import { openIdentity } from "../../src/network/key-storage.ts";

interface Arguments {
  data_dir: string;
  network_file: string;
  peer: string | null;
  ready_file: string;
}

const { data_dir, network_file, peer, ready_file } = JSON.parse(Bun.argv[2]!) as Arguments;
const { identity } = openIdentity({ dir: data_dir }, systemRandom);
const node = await startNode({
  data_dir,
  network: networkFileSchema.parse(JSON.parse(fs.readFileSync(network_file, "utf8"))),
  identity,
  listen: { host: "127.0.0.1", port: 0 },
  advertise: null,
  tier: "cpu_only",
  peers: peer === null ? [] : [peer],
  threads: 1,
  max_disk_bytes: 1 << 28,
  clock: systemClock,
  random: systemRandom,
  audits: { share: 1, poll_ms: 200 },
});
serveControl(
  nodeControl(node, () => undefined),
  { data_dir, random: systemRandom },
);
const { address, public_key } = node.transport;
fs.writeFileSync(`${ready_file}.tmp`, JSON.stringify({ address, public_key }));
fs.renameSync(`${ready_file}.tmp`, ready_file);
