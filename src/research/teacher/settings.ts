/**
 * A teacher as a task file names it: Claude, any server of the OpenAI API, or a model that the own
 * network serves; what it may use; and where its answers are recorded or replayed from. Keys come
 * from the environment and are never written anywhere.
 */
import { z } from "zod";
import { MagnetError } from "../../core/errors.ts";

export const TEACHER_BACKENDS = ["claude", "openai", "network"] as const;

const price = z.number().min(0).max(10_000);

const schema = z.strictObject({
  backend: z.enum(TEACHER_BACKENDS),
  model: z.string().min(1).max(200),
  /** Of the server; claude has one, network is this machine's `magnet serve` unless given. */
  base_url: z.url({ protocol: /^https?$/ }).optional(),
  /** Environment variable with the key; the backend's usual one unless given. */
  key_env: z
    .string()
    .regex(/^[A-Z][A-Z0-9_]{0,99}$/)
    .optional(),
  /** Tokens in and out of all calls of a run together. */
  tokens_max: z.int().min(1).max(1e9).default(200_000),
  /** Money for all calls of a run together; needs the prices. */
  cost_max_usd: z.number().positive().max(1e6).optional(),
  price_input_usd_per_mtok: price.optional(),
  price_output_usd_per_mtok: price.optional(),
  temperature: z.number().min(0).max(2).default(0.7),
  /** JSONL that gets every answer. */
  record: z.string().min(1).optional(),
  /** JSONL that answers instead of a server; a question that is not in it is an error. */
  replay: z.string().min(1).optional(),
});

export type TeacherSettings = z.output<typeof schema>;

const HINT =
  'for example {"backend": "openai", "model": "NAME", "base_url": "http://127.0.0.1:8080/v1"}';

/** Checks and completes. Throws BAD_TEACHER naming the field. */
export function parseTeacher(value: unknown): TeacherSettings {
  const parsed = schema.safeParse(value);
  const bad = (message: string, hint = HINT) =>
    new MagnetError("BAD_TEACHER", `teacher: ${message}`, { hint, exit: "config" });
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw bad(`${issue.path.map(String).join(".") || "value"}: ${issue.message}`);
  }
  const settings = parsed.data;
  if (settings.backend === "openai" && !settings.base_url && !settings.replay)
    throw bad("base_url is missing", "name the server, for example http://127.0.0.1:8080/v1");
  const { price_input_usd_per_mtok: input, price_output_usd_per_mtok: output } = settings;
  if (settings.cost_max_usd !== undefined && (input === undefined || output === undefined))
    throw bad(
      "cost_max_usd needs the prices",
      "add price_input_usd_per_mtok and price_output_usd_per_mtok, as the provider lists them",
    );
  if (settings.record !== undefined && settings.replay !== undefined)
    throw bad("record and replay exclude each other", "a replayed run asks nobody");
  return settings;
}
