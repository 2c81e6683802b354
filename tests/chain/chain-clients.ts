/** viem's clients on a chain, and the accounts that tests use (those of anvil, known to everyone). */
import { createPublicClient, createWalletClient, defineChain, http } from "viem";
import { mnemonicToAccount } from "viem/accounts";
import type { Alloc } from "../../src/chain/embedded/genesis.ts";
import { type Hex, toHex } from "../../src/chain/embedded/hex.ts";

const MNEMONIC = "test test test test test test test test test test test junk";
const accounts = Array.from({ length: 10 }, (_, addressIndex) =>
  mnemonicToAccount(MNEMONIC, { addressIndex }),
);

/** Private keys of anvil's ten accounts. */
export const KEYS: Hex[] = accounts.map((account) => toHex(account.getHdKey().privateKey!));

/** 10,000 coins for each of them. */
export const richAlloc = (): Alloc =>
  Object.fromEntries(
    accounts.map(({ address }) => [address.toLowerCase(), { balance: 10_000n * 10n ** 18n }]),
  );

export function clientsFor(url: string, chain_id: number) {
  const chain = defineChain({
    ...{ id: chain_id, name: "test", rpcUrls: { default: { http: [url] } } },
    nativeCurrency: { name: "coin", symbol: "C", decimals: 18 },
  });
  const transport = http(url, { retryCount: 0 });
  return {
    wallet: createWalletClient({ chain, transport }),
    client: createPublicClient({ chain, transport, pollingInterval: 20 }),
  };
}
