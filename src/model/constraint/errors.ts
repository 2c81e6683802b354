/** How schemas are refused: by the place in the schema (a JSON pointer) and the keyword. */
import { MagnetError } from "../../core/errors.ts";

/** Longer pointers are cut in messages. */
const POINTER_MAX = 200;

function place(pointer: string): string {
  if (pointer === "") return "schema";
  const cut = pointer.length > POINTER_MAX;
  return `schema at ${cut ? `${pointer.slice(0, POINTER_MAX)}...` : pointer}`;
}

/** A schema that is well-formed, but not of the subset. */
export function refuse(
  pointer: string,
  message: string,
  options: { hint?: string } = {},
): MagnetError {
  const hint =
    options.hint ?? "leave it out; the documentation of response_format lists what is supported";
  return new MagnetError("UNSUPPORTED_SCHEMA", `${place(pointer)}: ${message}`, {
    hint,
    exit: "usage",
  });
}

/** A keyword whose value is not what JSON Schema says. */
export function malformed(pointer: string, keyword: string, wanted: string): MagnetError {
  return new MagnetError("BAD_SCHEMA", `${place(pointer)}: ${keyword} takes ${wanted}`, {
    hint: "see https://json-schema.org/draft/2020-12",
    exit: "usage",
  });
}
