/** What the commands of long runs (train, align) share: their seed, and reports that may fail. */
import { usageError } from "./frame/strict.ts";

/** --seed as 64 unsigned bits. */
export function seedOf(text: string): bigint {
  if (/^\d{1,20}$/.test(text) && BigInt(text) < 2n ** 64n) return BigInt(text);
  throw usageError("BAD_VALUE", `--seed cannot be "${text}"`, "it takes a number below 2^64");
}

/**
 * A reader of stdout that goes away, or a full disk behind it, must not cost the run: it is stopped
 * as by a signal, so that it saves its checkpoint, and the failure is reported afterwards.
 */
export function stopOnFailure<H extends Record<string, (event: never) => void>>(
  handlers: H,
): H & { stop: AbortController } {
  const stop = new AbortController();
  const guarded = Object.entries(handlers).map(([name, show]) => [
    name,
    (event: never) => {
      if (stop.signal.aborted) return;
      try {
        show(event);
      } catch (error) {
        stop.abort(error);
      }
    },
  ]);
  return { ...(Object.fromEntries(guarded) as H), stop };
}
