/** A real chain with the token, a paid server on it, and customers: for the tests of the paid API. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
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
import { systemClock } from "../../../src/core/clock.ts";
import { openPaidApi, type PaidApi, type PaidOptions } from "../../../src/http/paid/open-paid.ts";
import { DEFAULT_PRICE, type PriceList } from "../../../src/http/paid/prices.ts";
import type { ServedModel } from "../../../src/http/serve/served-model.ts";
import { keptLog, serve } from "../serve-fixture.ts";

const ANVIL = path.join(
  import.meta.dir,
  "../../../node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil",
);
/** The chain's first account of its own: rich from the start. */
const RICH = privateKeyToAccount(
  "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
);
export const CHAIN_ID = 31_337;

export interface TestChain {
  url: string;
  asset: Address;
  client: ReturnType<typeof publicClient>;
  /** A key with tokens (base units) and ether. */
  account(tokens?: bigint, ether?: string): Promise<LocalAccount>;
  balance(of: Address): Promise<bigint>;
  rpc(method: string, params?: unknown[]): Promise<unknown>;
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

/** The port that a line of anvil's output names. */
async function portOf(stream: ReadableStream<Uint8Array>): Promise<number> {
  const decoder = new TextDecoder();
  let text = "";
  const reader = stream.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    text += decoder.decode(value);
    const found = /Listening on 127\.0\.0\.1:(\d+)/.exec(text)?.[1];
    if (found !== undefined) {
      void (async () => {
        while (!(await reader.read()).done);
      })();
      return Number(found);
    }
    if (done) throw new Error(`anvil ended: ${text}`);
  }
}

/** Starts anvil and deploys MagToken. */
export async function startChain(): Promise<TestChain> {
  const child = Bun.spawn([ANVIL, "--port", "0", "--hardfork", "cancun", "--chain-id", "31337"], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const url = `http://127.0.0.1:${await portOf(child.stdout)}`;
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
  return {
    ...{ url, client, asset: token.address },
    async account(tokens = parseEther("1"), ether = "1") {
      const account = privateKeyToAccount(generatePrivateKey());
      await mined(await wallet.sendTransaction({ to: account.address, value: parseEther(ether) }));
      const args = [account.address, tokens] as const;
      await mined(await wallet.writeContract({ ...token, functionName: "transfer", args }));
      return account;
    },
    balance: (of) => client.readContract({ ...token, functionName: "balanceOf", args: [of] }),
    rpc: (method, params = []) => client.request({ method, params } as never),
    async kill() {
      child.kill("SIGKILL");
      await child.exited;
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
  options: Partial<PaidOptions> & { account: LocalAccount },
): Promise<PaidServer> {
  const log = keptLog();
  const data_dir = options.data_dir ?? temporaryFolder();
  const paid = await openPaidApi({
    ...{ rpc_url: chain.url, chain_id: CHAIN_ID, asset: chain.asset, prices: FLAT, data_dir },
    ...{ sweep_every_s: 0, clock: systemClock, log },
    ...options,
  });
  const server = await serve([model], { paid: paid.door });
  return {
    ...{ url: server.url, paid, log, data_dir },
    async close() {
      await server.close(0);
      await paid.close();
    },
  };
}
