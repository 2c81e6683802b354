/** A real chain with the token, a paid server on it, and customers: for the tests of the paid API. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { x402HTTPClient } from "@x402/core/client";
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import {
  type Address,
  createPublicClient,
  createWalletClient,
  defineChain,
  type Hex,
  http,
  type LocalAccount,
  parseEther,
} from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { magToken } from "../../../build/contracts.ts";
import { EmbeddedChain } from "../../../src/chain/embedded/chain.ts";
import { serveChain } from "../../../src/chain/embedded/server.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { openPaidApi, type PaidApi, type PaidOptions } from "../../../src/http/paid/open-paid.ts";
import { DEFAULT_PRICE, type PriceList } from "../../../src/http/paid/prices.ts";
import type { ServedModel } from "../../../src/http/serve/served-model.ts";
import { startAnvil } from "../../chain/anvil.ts";
import { KEYS, richAlloc } from "../../chain/chain-clients.ts";
import { keptLog, serve } from "../serve-fixture.ts";

/** Rich from the start, on both chains. */
const RICH = privateKeyToAccount(KEYS[0]!);
export const CHAIN_ID = 31_337;

export interface TestChain {
  url: string;
  asset: Address;
  client: ReturnType<typeof publicClient>;
  /** A key with tokens (base units) and ether. */
  account(tokens?: bigint, ether?: string, key?: Hex): Promise<LocalAccount>;
  balance(of: Address): Promise<bigint>;
  rpc(method: string, params?: unknown[]): Promise<unknown>;
  /** Sends a call and waits until it is mined. */
  write(account: LocalAccount, call: object): Promise<void>;
  /** Sends a transaction and does not wait. */
  send(
    account: LocalAccount,
    call: { to: Address; data: Hex; gas: bigint; fee_gwei: bigint },
  ): Promise<Hex>;
  /** Gives tokens. */
  give(to: Address, tokens: bigint): Promise<void>;
  /** Gives ether. */
  fund(address: Address): Promise<void>;
  kill(): Promise<void>;
}

const definition = (url: string) =>
  defineChain({
    id: CHAIN_ID,
    name: "test",
    nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
    rpcUrls: { default: { http: [url] } },
  });
const publicClient = (url: string) =>
  createPublicClient({ chain: definition(url), transport: http(url), pollingInterval: 10 });

export type ChainKind = "embedded" | "anvil";

/** What runs the chain, and how it is ended. */
async function openChain(kind: ChainKind): Promise<{ url: string; stop(): Promise<unknown> }> {
  if (kind === "anvil") return startAnvil(["--chain-id", String(CHAIN_ID)]);
  const chain = await EmbeddedChain.open({
    ...{ alloc: richAlloc(), fees: "eip1559", chain_id: CHAIN_ID, allow_time_travel: true },
  });
  const server = serveChain(chain);
  const stop = async () => {
    await server.stop();
    await chain.close();
  };
  return { url: server.url, stop };
}

/** Starts a chain and deploys MagToken. */
export async function startChain(kind: ChainKind = "embedded"): Promise<TestChain> {
  const { url, stop } = await openChain(kind);
  const client = publicClient(url);
  const wallet = createWalletClient({
    ...{ chain: definition(url), transport: http(url), account: RICH, pollingInterval: 10 },
  });
  const mined = (hash: Hex) => client.waitForTransactionReceipt({ hash });
  const supply = parseEther("1000000");
  const { contractAddress } = await mined(
    await wallet.deployContract({ ...magToken, args: [RICH.address, RICH.address, supply] }),
  );
  const token = { abi: magToken.abi, address: contractAddress! } as const;
  const give = async (to: Address, tokens: bigint) => {
    const call = { ...token, functionName: "transfer", args: [to, tokens] } as const;
    await mined(await wallet.writeContract(call));
  };
  return {
    ...{ url, client, asset: token.address },
    async account(tokens = parseEther("1"), ether = "1", key = generatePrivateKey()) {
      const account = privateKeyToAccount(key);
      await mined(await wallet.sendTransaction({ to: account.address, value: parseEther(ether) }));
      await give(account.address, tokens);
      return account;
    },
    give,
    send: (account, { to, data, gas, fee_gwei }) =>
      wallet.sendTransaction({
        ...{ account, to, data, gas },
        ...{ maxFeePerGas: fee_gwei * 10n ** 9n, maxPriorityFeePerGas: fee_gwei * 10n ** 9n },
      }),
    balance: (of) => client.readContract({ ...token, functionName: "balanceOf", args: [of] }),
    rpc: (method, params = []) => client.request({ method, params } as never),
    async write(account, call) {
      await mined(await wallet.writeContract({ ...call, account } as never));
    },
    async fund(to) {
      await mined(await wallet.sendTransaction({ to, value: parseEther("1") }));
    },
    async kill() {
      await stop();
    },
  };
}

export const FLAT: PriceList = { all: DEFAULT_PRICE, models: new Map() };

export const temporaryFolder = (): string => fs.mkdtempSync(path.join(os.tmpdir(), "magnet-paid-"));

export interface PaidServer {
  url: string;
  paid: PaidApi;
  log: ReturnType<typeof keptLog>;
  data_dir: string;
  close(): Promise<void>;
}

/** A server that sells `model`'s answers. */
export async function startPaid(
  chain: TestChain,
  model: ServedModel,
  options: Partial<PaidOptions> & { account: LocalAccount; api_keys?: readonly string[] },
): Promise<PaidServer> {
  const log = keptLog();
  const data_dir = options.data_dir ?? temporaryFolder();
  const paid = await openPaidApi({
    ...{ rpc_url: chain.url, chain_id: CHAIN_ID, asset: chain.asset, prices: FLAT, data_dir },
    ...{ sweep_every_s: 0, clock: systemClock, log },
    ...options,
  });
  const { api_keys = [] } = options;
  const server = await serve([model], { paid: paid.door, api_keys });
  return {
    ...{ url: server.url, paid, log, data_dir },
    async close() {
      await server.close(0);
      await paid.close();
    },
  };
}

export const network = `eip155:${CHAIN_ID}` as const;
/** DEFAULT_PRICE's request. */
export const PRICE = 10n ** 15n;
export const CHAT = { model: "fake", messages: [{ role: "user", content: "hi" }] };
export const post = (body: object, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify(body),
});
export const chatUrl = ({ url }: { url: string }) => `${url}/v1/chat/completions`;
export const codeOf = async (response: Response): Promise<string> =>
  ((await response.json()) as { error: { code: string } }).error.code;

/** x402's client, with the token allowed. */
function x402For(chain: TestChain, account: LocalAccount): x402Client {
  const client = new x402Client().register(network, new ExactEvmScheme(account));
  client.setSpendControls({
    allowedAssets: [{ network, asset: chain.asset, maxAmountPerPayment: "1000000000000000000" }],
  } as never);
  return client;
}

/** x402's own fetch, unchanged. */
export const customer = (chain: TestChain, account: LocalAccount): typeof fetch =>
  wrapFetchWithPayment(fetch, x402For(chain, account)) as typeof fetch;

/** The payment header that x402's client makes for a server's offer. */
export async function paymentFor(
  chain: TestChain,
  account: LocalAccount,
  server: { url: string },
  body: object = CHAT,
): Promise<Record<string, string>> {
  const offer = await fetch(chatUrl(server), post(body));
  if (offer.status !== 402) throw new Error(`no offer but ${offer.status}`);
  const client = x402For(chain, account);
  const http = new x402HTTPClient(client);
  const required = http.getPaymentRequiredResponse((name) => offer.headers.get(name));
  return http.encodePaymentSignatureHeader(await client.createPaymentPayload(required));
}

/** The authorization in a payment header. */
export function authorizationIn(headers: Record<string, string>): { from: string; nonce: Hex } {
  const text = Buffer.from(Object.values(headers)[0]!, "base64").toString("utf8");
  return JSON.parse(text).payload.authorization;
}
