/**
 * Fields of a request that this server does not do. OpenAI and Ollama have many: those that change
 * nothing here are let pass, the others are refused by name, so that nobody takes an answer for
 * something that it is not.
 */
import { z } from "zod";
import { nearest } from "../../core/did-you-mean.ts";
import { ApiError, badRequest } from "./api-error.ts";

export interface KnownFields {
  /** Fields that are done. */
  done: readonly string[];
  /** Fields without an effect on the answer: accepted with any value. */
  harmless: readonly string[];
  /** Field to why it is refused; values that ask for nothing are let pass. */
  refused: Readonly<Record<string, string>>;
  /** Values of a refused field that ask for nothing, besides null, false, [] and {}. */
  neutral?: Readonly<Record<string, readonly unknown[]>>;
}

function asksForNothing(value: unknown, neutral: readonly unknown[] = []): boolean {
  if (value === null || value === false || neutral.includes(value)) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/** The fields that are done, without those that are null. Throws 400 naming any other field. */
export function knownFields(
  body: Record<string, unknown>,
  known: KnownFields,
): Record<string, unknown> {
  const kept: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(body)) {
    if (known.done.includes(name)) {
      if (value !== null) kept[name] = value;
      continue;
    }
    if (known.harmless.includes(name)) continue;
    const reason = Object.hasOwn(known.refused, name) ? known.refused[name] : undefined;
    if (reason === undefined) throw unknownField(name, known);
    if (!asksForNothing(value, known.neutral?.[name]))
      throw badRequest("unsupported_parameter", `${name}: ${reason}`, name);
  }
  return kept;
}

function unknownField(name: string, known: KnownFields): ApiError {
  const shown = name.slice(0, 64);
  const near = nearest(shown, known.done);
  const hint = near === undefined ? "" : `; did you mean ${near}?`;
  return badRequest(
    "unknown_parameter",
    `unknown parameter ${JSON.stringify(shown)}${hint}`,
    shown,
  );
}

/** Larger ones would wrap round to other ids. */
const ID_MAX = 0x7fffffff;
const isId = (id: unknown): boolean =>
  Number.isInteger(id) && (id as number) >= 0 && (id as number) <= ID_MAX;

/** Ready-made ids. Not a schema of numbers: that takes a hundred times as long for a long prompt. */
export const tokenIds = z.custom<number[]>(
  (value) => Array.isArray(value) && value.length > 0 && value.every(isId),
  "a text, or ids of tokens, is expected",
);

/** Checks a body against its schema. Throws 400 naming the field and what is wrong with it. */
export function checkedFields<S extends z.ZodType>(schema: S, fields: unknown): z.infer<S> {
  const result = schema.safeParse(fields);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const param = issue.path.map(String).join(".") || undefined;
  const unrecognised = issue.code === "unrecognized_keys" ? issue.keys[0] : undefined;
  const name = [param, unrecognised].filter((part) => part !== undefined).join(".");
  throw new ApiError(400, "invalid_parameter", `${name || "request"}: ${issue.message}`, {
    param: name || undefined,
  });
}
