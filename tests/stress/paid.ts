/**
 * What a payment adds to a request: answers of a model that costs nothing, asked with a key and
 * bought, one after the other and eight at once, on the embedded chain or anvil in this machine.
 *
 *   bun tests/stress/paid.ts [--requests 100] [--chain embedded|anvil]
 *
 * Prints one JSON line. Wall times are of the caller; CPU times of this process, in which server,
 * customer and (where embedded) the chain run.
 */
import { parseArgs } from "node:util";
import { systemClock } from "../../src/core/clock.ts";
import { PurchaseOfAnswer } from "../../src/http/pay/buyer.ts";
import { SpendingBook } from "../../src/http/pay/spending-book.ts";
import {
  CHAIN_ID,
  CHAT,
  type ChainKind,
  chatUrl,
  post,
  startChain,
  startPaid,
} from "../http/paid/paid-fixture.ts";
import { fakeModel, saying } from "../http/serve-fixture.ts";

const { values } = parseArgs({
  options: {
    requests: { type: "string", default: "100" },
    chain: { type: "string", default: "embedded" },
  },
});
const requests = Number(values.requests);
const chain = await startChain(values.chain as ChainKind);
const [seller, buyer] = [await chain.account(0n), await chain.account()];
const KEY = "a-key-of-the-operator";
const server = await startPaid(chain, await fakeModel(saying("hello")), {
  account: seller,
  api_keys: [KEY],
});
const cap = 10n ** 18n;
const book = new SpendingBook(":memory:");
const buy = () =>
  new PurchaseOfAnswer({
    ...{ account: buyer, book, session: "bench", clock: systemClock },
    allowed: { chain_id: CHAIN_ID, asset: chain.asset.toLowerCase() },
    caps: { per_request: cap, per_session: cap, per_day: cap },
    consent: async () => true,
    warn: (text) => process.stderr.write(`${text}\n`),
  }).fetch(chatUrl(server), post(CHAT));
const withKey = () => fetch(chatUrl(server), post(CHAT, { authorization: `Bearer ${KEY}` }));

const rounded = (value: number) => Math.round(value * 100) / 100;
async function measure(ask: () => Promise<Response>, at_once: number) {
  const times: number[] = [];
  const one = async () => {
    const started = performance.now();
    const response = await ask();
    await response.text();
    if (response.status !== 200) throw new Error(`answered ${response.status}`);
    times.push(performance.now() - started);
  };
  for (let i = 0; i < 5; i++) await one();
  times.length = 0;
  const cpu = process.cpuUsage();
  const started = performance.now();
  let left = requests;
  await Promise.all(
    Array.from({ length: at_once }, async () => {
      while (left-- > 0) await one();
    }),
  );
  const wall_ms = performance.now() - started;
  const { user, system } = process.cpuUsage(cpu);
  times.sort((a, b) => a - b);
  return {
    requests_per_s: rounded((1000 * times.length) / wall_ms),
    p50_ms: rounded(times[Math.floor(times.length / 2)]!),
    p99_ms: rounded(times[Math.floor(times.length * 0.99)]!),
    cpu_ms: rounded((user + system) / 1000 / times.length),
  };
}

const free = await measure(withKey, 1);
const paid = await measure(buy, 1);
const paid_8_at_once = await measure(buy, 8);
const overhead_ms = rounded(paid.p50_ms - free.p50_ms);
const overhead_cpu_ms = rounded(paid.cpu_ms - free.cpu_ms);
const load_1min = (await Bun.file("/proc/loadavg").text()).split(" ")[0];
process.stdout.write(
  `${JSON.stringify({
    ...{ chain: values.chain, requests, free, paid, paid_8_at_once, overhead_ms, overhead_cpu_ms },
    load_1min,
  })}\n`,
);
await server.close();
await chain.kill();
