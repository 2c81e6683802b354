/** Random transactions: transfers, creations, calls, and bytes that are barely code. */
import { type Abi, encodeDeployData, encodeFunctionData } from "viem";
import { magToken } from "../../../build/contracts.ts";
import { type Hex, toHex } from "../../../src/chain/embedded/hex.ts";
import type { Random } from "../../../src/core/random.ts";
import { compiled } from "../compiled.ts";
import { SOURCE } from "./contracts.ts";

export const fuzz = compiled(SOURCE, "Fuzz");
const child = compiled(SOURCE, "Child");

/** A transaction without nonce and fees. */
export interface Draft {
  kind: string;
  to?: Hex;
  data?: Hex;
  value: bigint;
  gas: bigint;
  access_list?: { address: Hex; storageKeys: Hex[] }[];
}

/** What the generator knows of the chain so far. */
export interface World {
  /** Contracts of the type MagToken, the ledger's own. */
  tokens: Hex[];
  /** Contracts of the type Fuzz. */
  contracts: Hex[];
  /** Everything that was ever touched: to send to, and to compare. */
  addresses: Hex[];
}

/** PREVRANDAO and BLOCKHASH differ by design: anvil draws its blocks' values at random. */
const FORBIDDEN = new Set([0x40, 0x44]);

const pick = <T>(random: Random, list: readonly T[]): T => list[random.below(list.length)]!;
const hexOf = (random: Random, length: number): Hex => toHex(random.bytes(length));
const freshAddress = (random: Random): Hex => hexOf(random, 20);

function someAddress(random: Random, world: World): Hex {
  const roll = random.below(10);
  if (roll < 2) return freshAddress(random);
  if (roll === 2) return `0x${random.below(12).toString(16).padStart(40, "0")}`;
  return pick(random, world.addresses);
}

/** Code with a fair chance to do something before it fails: pushes, then any instruction. */
function randomCode(random: Random, length: number): Uint8Array {
  const code: number[] = [];
  while (code.length < length) {
    const roll = random.below(4);
    if (roll < 2) code.push(0x60, random.below(4) === 0 ? random.below(256) : random.below(8));
    else if (roll === 2) code.push(0x5f, 0x80 + random.below(4));
    else {
      const opcode = random.below(256);
      if (!FORBIDDEN.has(opcode)) code.push(opcode);
    }
  }
  // An operand cut off or jumped into may be read as an instruction: none of them may be forbidden.
  return Uint8Array.from(code.filter((byte) => !FORBIDDEN.has(byte)));
}

/** Creation code that returns `runtime`. */
export function deploys(runtime: Uint8Array): Uint8Array {
  const size = runtime.length;
  const head = [0x61, size >> 8, size & 255, 0x80, 0x60, 0x0b, 0x5f, 0x39, 0x5f, 0xf3, 0x00];
  return Uint8Array.from([...head, ...runtime]);
}

function callArguments(random: Random, world: World, abi: Abi, name: string): unknown[] {
  const entry = abi.find((item) => item.type === "function" && item.name === name);
  const { inputs } = entry as unknown as { inputs: { type: string }[] };
  return inputs.map(({ type }) => {
    if (type === "uint256")
      return random.below(8) === 0 ? BigInt(hexOf(random, 32)) : BigInt(random.below(3000));
    if (type === "address") return someAddress(random, world);
    if (type === "uint8") return 27 + random.below(2);
    if (type === "bytes32") return `0x${random.below(5).toString(16).padStart(64, "0")}`;
    if (type === "bytes") return hexOf(random, random.below(200));
    return "x".repeat(random.below(90));
  });
}

const FUNCTIONS = fuzz.abi.flatMap((item) =>
  item.type === "function" && item.stateMutability !== "view" ? [item.name] : [],
);

const TOKEN_FUNCTIONS = magToken.abi.flatMap((item) =>
  item.type === "function" && item.stateMutability === "nonpayable" ? [item.name] : [],
);

/** The text with one digit changed. */
function flipped(random: Random, text: Hex): Hex {
  const at = 2 + random.below(text.length - 2);
  return `${text.slice(0, at)}${random.below(16).toString(16)}${text.slice(at + 1)}` as Hex;
}

/** The polynomial x: its commitment is [tau], its value at 5 is 5, and the quotient is 1. */
const TAU_G1 =
  "ad3eb50121139aa34db1d545093ac9374ab7bca2c0f3bf28e27c8dcd8fc7cb42d25926fc0c97b336e9f0fb35e5a04c81";
const BASE_G1 =
  "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb";
const FIVE = "05".padStart(64, "0");
const versionedHash = (): string => {
  const hash = new Bun.CryptoHasher("sha256").update(Buffer.from(TAU_G1, "hex")).digest("hex");
  return `01${hash.slice(2)}`;
};
export const POINT_EVALUATION: Hex = `0x${versionedHash()}${FIVE}${FIVE}${TAU_G1}${BASE_G1}`;

/** Inputs that the precompiles accept, beside random ones: curve points, modexp, blake2f. */
function precompileInput(random: Random): Hex {
  const one = "00".repeat(31).concat("01");
  const two = "00".repeat(31).concat("02");
  const inputs: Hex[] = [
    `0x${one}${two}${one}${two}`, // bn254 addition of the generator to itself
    `0x${one}${two}${hexOf(random, 32).slice(2)}`, // multiplication
    "0x", // an empty pairing is true
    `0x${one}${one}${one}${hexOf(random, 3).slice(2)}`, // modexp of single bytes
    `0x0000000c${hexOf(random, 208).slice(2)}01`, // 12 rounds of blake2f, the last block
    POINT_EVALUATION,
    flipped(random, POINT_EVALUATION),
    hexOf(random, 128),
    hexOf(random, random.below(300)),
  ];
  return pick(random, inputs);
}

function fuzzCall(random: Random, world: World): Draft {
  const to = pick(random, world.contracts);
  const name = pick(random, FUNCTIONS);
  const args = callArguments(random, world, fuzz.abi, name);
  if (name === "precompile") {
    args[1] = precompileInput(random);
    if (args[1] === POINT_EVALUATION) args[0] = 10n;
  }
  const payable = ["create", "create2", "brief", "createAndKill", "send"].includes(name);
  const value =
    random.below(3) === 0 && (payable || random.below(10) === 0) ? BigInt(random.below(1000)) : 0n;
  const data = encodeFunctionData({ abi: fuzz.abi, functionName: name, args });
  const gas =
    random.below(6) === 0 ? 21_000 + random.below(90_000) : 400_000 + random.below(1_500_000);
  return { kind: `call ${name}`, to, data, value, gas: BigInt(gas) };
}

/** Any function of the ledger's token, of any account: transfers, allowances, mints, burns, refusals. */
function tokenCall(random: Random, world: World): Draft {
  const to = pick(random, world.tokens);
  const name = pick(random, TOKEN_FUNCTIONS);
  const args = callArguments(random, world, magToken.abi, name);
  const data = encodeFunctionData({ abi: magToken.abi as Abi, functionName: name, args });
  return { kind: `token ${name}`, to, data, value: 0n, gas: 300_000n };
}

function creation(random: Random, world: World): Draft {
  const roll = random.below(7);
  if (roll === 6) {
    const [minter, holder] = [
      pick(random, world.addresses),
      pick(random, world.addresses.slice(0, 10)),
    ];
    const data = encodeDeployData({ ...magToken, args: [minter, holder, 10n ** 24n] });
    return { kind: "create MagToken", data, value: 0n, gas: 3_500_000n };
  }
  const gas = BigInt(60_000 + random.below(2_500_000));
  const value = random.below(4) === 0 ? BigInt(random.below(500)) : 0n;
  if (roll === 0) {
    const data = encodeDeployData({ ...fuzz, args: [] });
    return { kind: "create Fuzz", data, value: 0n, gas: 3_500_000n };
  }
  if (roll === 1) {
    const data = encodeDeployData({ ...child, args: [BigInt(random.below(9))] });
    return { kind: "create Child", data, value, gas };
  }
  if (roll === 2) {
    const runtime = randomCode(random, 1 + random.below(300));
    return { kind: "create random runtime", data: toHex(deploys(runtime)), value, gas };
  }
  if (roll === 3) {
    const bad = pick(random, [[0xef], [0xef, 0x00, 1], new Array(24_577).fill(0x5b)]);
    return {
      kind: "create refused code",
      data: toHex(deploys(Uint8Array.from(bad))),
      value,
      gas: 6_000_000n,
    };
  }
  return {
    kind: "create random code",
    data: toHex(randomCode(random, 1 + random.below(400))),
    value,
    gas,
  };
}

function accessList(random: Random, world: World): Draft["access_list"] {
  return Array.from({ length: random.below(4) }, () => ({
    address: someAddress(random, world),
    storageKeys: Array.from(
      { length: random.below(4) },
      () => `0x${random.below(80).toString(16).padStart(64, "0")}` as Hex,
    ),
  }));
}

/** The next transaction of the run. */
export function randomDraft(random: Random, world: World): Draft {
  const roll = random.below(20);
  let draft: Draft;
  if (roll < 4) {
    const data = random.below(3) === 0 ? { data: hexOf(random, random.below(80)) } : {};
    const value = random.below(5) === 0 ? 0n : BigInt(random.below(1_000_000));
    draft = { kind: "transfer", to: someAddress(random, world), value, gas: 150_000n, ...data };
  } else if (roll < 8 || world.contracts.length === 0) draft = creation(random, world);
  else if (roll < 11 && world.tokens.length > 0) draft = tokenCall(random, world);
  else draft = fuzzCall(random, world);
  if (random.below(5) === 0) draft.access_list = accessList(random, world) ?? [];
  return draft;
}
