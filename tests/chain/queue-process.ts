/** A process that pays COUNT times through a queue: `queue-process.ts RPC_URL FILE TARGET COUNT`. */
import { openRpc } from "../../src/chain/client/rpc.ts";
import { TransactionQueue } from "../../src/chain/client/transaction-queue.ts";
import { systemClock } from "../../src/core/clock.ts";
import { deployer } from "./deployed-ledger.ts";

const [url, file, to, count] = process.argv.slice(2);
const rpc = openRpc({ url: url!, clock: systemClock });
const queue = new TransactionQueue({
  ...{ rpc, signer: deployer, file: file!, clock: systemClock },
  chain_id: Number(await rpc.request("eth_chainId")),
});
process.stdout.write("open\n");
for (let i = 0; i < Number(count); i++)
  queue.submit({ key: `pay:${i}`, what: "pay", to: to as `0x${string}`, data: "0x", value: 1n });
for (let i = 0; i < Number(count); i++) {
  const { state } = await queue.wait(`pay:${i}`, { poll_ms: 5 });
  if (state !== "mined") throw new Error(`pay:${i} is ${state}`);
}
await queue.close();
