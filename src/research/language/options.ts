/** What a language task fixes for all its trials. */
import { z } from "zod";

export const languageOptionsSchema = z.strictObject({
  /** Training tokens of a trial at full effort, for the baseline. */
  tokens: z.int().min(1024).max(1e12).default(200_000),
  /**
   * What trials have in common: "tokens" (in truth bytes of text: a larger vocabulary has fewer
   * tokens), or "compute": a configuration that costs half as much a token sees twice the tokens.
   */
  equal: z.enum(["tokens", "compute"]).default("tokens"),
  /** Every model is measured in windows of so many tokens, whatever it was trained with. */
  evaluation_context: z.int().min(16).max(65_536).default(256),
  /** Held-out text of each part, about. */
  evaluation_bytes: z
    .int()
    .min(4096)
    .max(1 << 28)
    .default(65_536),
  /** Field of JSONL that holds the text. */
  text_field: z.string().min(1).optional(),
  /** Shares of the documents that are held out. */
  held_out: z
    .strictObject({
      search: z.number().min(0.005).max(0.3).default(0.08),
      gate: z.number().min(0.005).max(0.3).default(0.06),
      sealed: z.number().min(0.005).max(0.3).default(0.1),
    })
    .default({ search: 0.08, gate: 0.06, sealed: 0.1 }),
  /** Fields of the baseline that are not the recipe's. */
  baseline: z.record(z.string(), z.json()).default({}),
});
export type LanguageOptions = z.output<typeof languageOptionsSchema>;
export type LanguageSettings = z.input<typeof languageOptionsSchema>;
