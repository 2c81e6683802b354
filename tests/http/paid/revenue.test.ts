/** Income with a ledger: customers pay the server's till, and `Revenue` splits it. */
import { afterAll, expect, test } from "bun:test";
import { magToken, revenue } from "../../../build/contracts.ts";
import { MAG } from "../../../src/chain/amounts.ts";
import { ledgerAccount } from "../../../src/chain/client/account.ts";
import { EmbeddedChain } from "../../../src/chain/embedded/chain.ts";
import { serveChain } from "../../../src/chain/embedded/server.ts";
import { seededRandom } from "../../../src/core/random.ts";
import { identityOf, newPrivateKey } from "../../../src/network/identity.ts";
import { clientsFor, richAlloc } from "../../chain/chain-clients.ts";
import { deployForTest } from "../../chain/deployed-ledger.ts";
import { fakeModel, saying } from "../serve-fixture.ts";
import {
  CHAIN_ID,
  CHAT,
  chatUrl,
  customer,
  PRICE,
  post,
  startPaid,
  type TestChain,
} from "./paid-fixture.ts";

const closers: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const close of closers.reverse()) await close();
});

test("payments go to the till; a sweep splits them 80 : 10 : 10 and burns a part", async () => {
  const embedded = await EmbeddedChain.open({ alloc: richAlloc(), fees: "eip1559" });
  const rpc = serveChain(embedded);
  closers.push(async () => {
    await rpc.stop();
    await embedded.close();
  });
  const random = seededRandom(3);
  const [seller, buyer] = [newPrivateKey(random), newPrivateKey(random)].map(identityOf);
  const members = [seller!.public_key, buyer!.public_key];
  const { contracts, chain_id } = await deployForTest({ url: rpc.url, members });
  expect(chain_id).toBe(CHAIN_ID);
  const chain = { url: rpc.url, asset: contracts.mag_token } as TestChain;
  const account = ledgerAccount(seller!);
  let now_ms = Date.now();
  const server = await startPaid(chain, await fakeModel(saying("sold")), {
    ...{ account, revenue: contracts.revenue, sweep_every_s: 60, clock: { now_ms: () => now_ms } },
  });
  closers.push(() => server.close());
  const { client } = clientsFor(rpc.url, chain_id);
  const token = { abi: magToken.abi, address: contracts.mag_token } as const;
  const balance = (of: `0x${string}`) =>
    client.readContract({ ...token, functionName: "balanceOf", args: [of] });
  const till = await client.readContract({
    ...{ abi: revenue.abi, address: contracts.revenue },
    ...{ functionName: "tillOf", args: [account.address] },
  } as const);
  expect(server.paid.offer.till.pay_to).toBe(till);
  const pay = customer(chain, ledgerAccount(buyer!));
  for (let i = 0; i < 3; i++)
    expect((await pay(chatUrl(server), post({ ...CHAT, seed: i }))).status).toBe(200);
  expect(await balance(till)).toBe(3n * PRICE);
  const before = await balance(account.address);
  const supply = await client.readContract({ ...token, functionName: "totalSupply" });
  await server.paid.look();
  expect(await balance(till)).toBe(3n * PRICE); // it is not time yet
  now_ms += 61_000;
  await server.paid.look();
  expect(await balance(till)).toBe(0n);
  expect((await balance(account.address)) - before).toBe((3n * PRICE * 8n) / 10n);
  const burned = supply - (await client.readContract({ ...token, functionName: "totalSupply" }));
  expect(burned).toBe((3n * PRICE) / 10n);
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  expect(metrics).toContain("magnet_paid_swept_tokens_total 0.003");
  expect(metrics).toContain('magnet_paid_requests_total{outcome="paid"} 3');
  now_ms += 61_000;
  await server.paid.look(); // an empty till is left alone
  expect(server.log.lines.filter(({ level }) => level === "error")).toEqual([]);
  expect(await balance(account.address)).toBeGreaterThan(before);
  expect(MAG).toBe(10n ** 18n);
});
