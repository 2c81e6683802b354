/** The chain's clock for people. Anybody may put any 64 bits on the chain as a time. */

/** The largest time that a Date holds, in seconds. */
const SECONDS_MAX = 8.64e12;

/** 1795291925 -> "2026-11-21T20:12:05"; the number itself where no calendar reaches. */
export function formatChainTime(seconds: number | bigint): string {
  const time = Number(seconds);
  if (!(Math.abs(time) <= SECONDS_MAX)) return String(seconds);
  const text = new Date(time * 1000).toISOString();
  return text.slice(0, text.indexOf("."));
}
