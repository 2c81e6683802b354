/**
 * Hexadecimal as JSON-RPC writes it: quantities without leading zeros, data with two digits a byte.
 * Every reader throws a RpcError that says which parameter is wrong.
 */
import { badParams } from "./rpc-error.ts";

export type Hex = `0x${string}`;

const HEX_BYTES: string[] = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0"));

/** Two digits a byte, with 0x. */
export function toHex(bytes: Uint8Array): Hex {
  let text = "0x";
  for (const byte of bytes) text += HEX_BYTES[byte];
  return text as Hex;
}

/** The bytes of text already known to be `0x` and an even number of digits. */
export function fromHex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.slice(2), "hex"));
}

export const quantity = (value: bigint | number): Hex => `0x${value.toString(16)}`;

/** Minimal big-endian bytes; zero is no bytes, as RLP wants it. */
export function quantityBytes(value: bigint): Uint8Array {
  if (value === 0n) return new Uint8Array(0);
  const digits = value.toString(16);
  return fromHex(`0x${digits.length % 2 === 0 ? "" : "0"}${digits}`);
}

/** Big-endian bytes as a number; no bytes are zero. */
export const bytesToQuantity = (bytes: Uint8Array): bigint =>
  bytes.length === 0 ? 0n : BigInt(toHex(bytes));

/** `value` in 32 bytes, big-endian. */
export const word = (value: bigint): Uint8Array =>
  fromHex(`0x${value.toString(16).padStart(64, "0")}`);

const shown = (value: unknown) => JSON.stringify(value)?.slice(0, 80) ?? "nothing";

/** Data of any length up to `bytes_max`. */
export function parseData(
  value: unknown,
  name: string,
  bytes_max = Number.POSITIVE_INFINITY,
): Uint8Array {
  if (typeof value !== "string" || !/^0x(?:[0-9a-fA-F]{2})*$/.test(value))
    throw badParams(`${name} is no hex data: ${shown(value)}`);
  if (value.length / 2 - 1 > bytes_max)
    throw badParams(`${name} is longer than ${bytes_max} bytes`);
  return fromHex(value);
}

/** A number of at most 256 bits. Leading zeros are forgiven, as other nodes do. */
export function parseQuantity(value: unknown, name: string): bigint {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return BigInt(value);
  if (typeof value !== "string" || !/^0x[0-9a-fA-F]{1,64}$/.test(value))
    throw badParams(`${name} is no hex number: ${shown(value)}`);
  return BigInt(value);
}

/** An address in lower case. */
export function parseAddress(value: unknown, name: string): Hex {
  if (typeof value !== "string" || !/^0x[0-9a-fA-F]{40}$/.test(value))
    throw badParams(`${name} is no address: ${shown(value)}`);
  return value.toLowerCase() as Hex;
}

/** 32 bytes in lower case. */
export function parseHash(value: unknown, name: string): Hex {
  if (typeof value !== "string" || !/^0x[0-9a-fA-F]{64}$/.test(value))
    throw badParams(`${name} is no 32-byte hash: ${shown(value)}`);
  return value.toLowerCase() as Hex;
}
