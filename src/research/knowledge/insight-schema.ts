/**
 * What an insight must look like, whoever wrote it: the knowledge base takes files from strangers,
 * so every text and number has bounds and nothing unknown is kept.
 */
import { z } from "zod";
import { FAILURE_KINDS } from "../types.ts";
import {
  CONFIGURATION_LENGTH_MAX,
  NAME_LENGTH_MAX,
  SETTING_LENGTH_MAX,
  SETTINGS_MAX,
} from "./limits.ts";

const name = z
  .string()
  .min(1)
  .max(NAME_LENGTH_MAX)
  .refine((text) => !/\p{Cc}/u.test(text), "holds control characters");
const hash = z.string().regex(/^[0-9a-f]{64}$/);
const share = z.number().min(0).max(1);
const count = z.int().min(0);
/** Differences of scores; those of losses are far below as well. */
const score = z.number().min(-1e6).max(1e6);
const setting = z
  .json()
  .refine((value) => JSON.stringify(value).length <= SETTING_LENGTH_MAX, "is too long");

const factsSchema = z.strictObject({
  domain: z.enum(["tabular", "series", "language"]),
  name,
  rows: count,
  features: count,
  classes: count,
  minority: share,
  contexts: count,
  has_pipeline: z.boolean(),
  missing_share: share,
  categorical_share: share,
});

const differenceSchema = z
  .strictObject({
    difference: score,
    standard_error: z.number().min(0).max(1e6),
    low: score,
    high: score,
    level: z.number().gt(0).lt(1),
  })
  .refine(({ low, high }) => low <= high, "its bounds are the wrong way round");

export const insightSchema = z.strictObject({
  key: name,
  task_hash: hash,
  signature: z.strictObject({
    facts: factsSchema,
    data: hash.optional(),
    metric: name,
    failures: z
      .array(z.strictObject({ kind: z.enum(FAILURE_KINDS), strength: z.number().min(0).max(1e9) }))
      .max(FAILURE_KINDS.length),
  }),
  version: count,
  strategy: name,
  family: name,
  result: z.enum(["accepted", "tied", "worse", "crashed"]),
  difference: differenceSchema.nullable(),
  units: count,
  trials: count,
  seeds: z.array(z.int()).max(1000),
  cpu_s: z.number().min(0).max(1e9),
  settings: z
    .record(z.string().max(NAME_LENGTH_MAX), setting)
    .refine((settings) => Object.keys(settings).length <= SETTINGS_MAX, "has too many settings"),
  // Data like any other: the domain that is to try it checks every field.
  configuration: z
    .record(z.string().max(NAME_LENGTH_MAX), z.json())
    .refine((value) => JSON.stringify(value).length <= CONFIGURATION_LENGTH_MAX, "is too long")
    .optional(),
});
