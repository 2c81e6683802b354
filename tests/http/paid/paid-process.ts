/**
 * A paid server in a process of its own, for tests that kill it. Reads its facts as JSON from the
 * environment; prints `ready URL`, and `run` whenever the handler begins. With `hang` the answer
 * never comes.
 */
import { privateKeyToAccount } from "viem/accounts";
import { fakeModel, piece, RESULT } from "../serve-fixture.ts";
import { startPaid, type TestChain } from "./paid-fixture.ts";

export interface ProcessFacts {
  rpc_url: string;
  asset: `0x${string}`;
  key: `0x${string}`;
  data_dir: string;
  hang: boolean;
}

const facts = JSON.parse(process.env.PAID_PROCESS!) as ProcessFacts;
const say = (text: string) => process.stdout.write(`${text}\n`);
const model = await fakeModel(async function* () {
  say("run");
  if (facts.hang) await new Promise(() => undefined);
  yield piece("answered");
  return RESULT;
});
const chain = { url: facts.rpc_url, asset: facts.asset } as TestChain;
const { url } = await startPaid(chain, model, {
  account: privateKeyToAccount(facts.key),
  data_dir: facts.data_dir,
});
say(`ready ${url}`);
