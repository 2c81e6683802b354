/** The methods that move the chain's time and make blocks by hand, named as anvil names them. */
import type { EmbeddedChain } from "./chain.ts";
import { parseQuantity, quantity } from "./hex.ts";
import type { Params } from "./params.ts";
import type { Methods } from "./rpc.ts";
import { badParams } from "./rpc-error.ts";

/** Blocks that one request may make. */
const BLOCKS_MAX = 10_000n;

/** A number as JSON, decimal text or hex: clients of these methods write all three. */
function looseQuantity(value: unknown, name: string): bigint {
  if (typeof value === "string" && /^\d{1,20}$/.test(value)) return BigInt(value);
  return parseQuantity(value, name);
}

export function timeMethods(chain: EmbeddedChain): Methods {
  const parent = () => chain.head.header.timestamp;
  const setNext = ([time]: Params) => {
    chain.time.setNext(looseQuantity(time, "timestamp"), parent());
    return null;
  };
  const increase = ([seconds]: Params) =>
    quantity(chain.time.increase(looseQuantity(seconds, "seconds")));
  return {
    evm_increaseTime: increase,
    anvil_increaseTime: increase,
    evm_setNextBlockTimestamp: setNext,
    anvil_setNextBlockTimestamp: setNext,
    async evm_mine([options]) {
      const timestamp =
        typeof options === "object" && options !== null
          ? (options as Record<string, unknown>).timestamp
          : options;
      if (timestamp !== undefined && timestamp !== null) setNext([timestamp]);
      await chain.mine();
      return "0x0";
    },
    async anvil_mine([blocks, interval]) {
      const count = blocks === undefined ? 1n : looseQuantity(blocks, "blocks");
      if (count > BLOCKS_MAX) throw badParams(`at most ${BLOCKS_MAX} blocks at once`);
      const step = interval === undefined ? 0n : looseQuantity(interval, "interval");
      for (let i = 0n; i < count; i++) {
        if (i > 0n && step > 0n) chain.time.increase(step);
        await chain.mine();
      }
      return null;
    },
    evm_setAutomine([on]) {
      if (typeof on !== "boolean") throw badParams("evm_setAutomine takes true or false");
      chain.automine = on;
      return null;
    },
  };
}
