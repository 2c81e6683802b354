/** The declared message types of a transport, by name, and the longest frame they allow. */
import { invariant } from "../core/errors.ts";
import { FRAME_OVERHEAD } from "./envelope.ts";
import { TYPE_MAX } from "./limits.ts";
import type { TransportOptions } from "./transport-types.ts";

/** Declarations by type; a type declared twice, or an unfit name, is a broken invariant. */
export function byType<S>(specs: readonly S[], typeOf: (spec: S) => string): Map<string, S> {
  const map = new Map<string, S>();
  for (const spec of specs) {
    const type = typeOf(spec);
    invariant(!map.has(type), `message type ${type} is declared once`);
    invariant(/^[\x21-\x7e]+$/.test(type) && type.length <= TYPE_MAX, `${type} is a short word`);
    map.set(type, spec);
  }
  return map;
}

/** Bytes of the longest frame that any declared type allows. */
export const longestFrame = ({ specs, requests = [] }: TransportOptions): number =>
  FRAME_OVERHEAD +
  Math.max(
    4096,
    ...[...specs, ...requests.flatMap((spec) => [spec.request, spec.response])].map(
      (spec) => spec.limit_bytes,
    ),
  );
