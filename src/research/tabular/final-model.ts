/**
 * A fitted pipeline: members with the columns they see, combination, calibration, decision rule, and
 * how a table's columns become numbers. Saved as one file: magic, length of the header, header as
 * JSON, the learners' bytes one after the other. What is loaded may come from anyone: everything is
 * checked before it is used, and BAD_MODEL says what was wrong.
 */
import { z } from "zod";
import { MagnetError } from "../../core/errors.ts";
import type { Learners } from "../../native/learner-types.ts";
import type { ColumnSpec } from "./columns.ts";
import { tabularConfiguration } from "./configuration.ts";
import { MODEL_HEADER_BYTES_MAX } from "./limits.ts";
import { loadMemberModel, type MemberModel } from "./member-model.ts";
import type { SecondLevel } from "./second-level.ts";

const MAGIC = new TextEncoder().encode("MGTABLE1");

const finite = z.number();
const index = z.int().min(0).max(1e6);
const spec = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("feature"), feature: index }),
  z.strictObject({ kind: z.literal("pipeline") }),
  z.strictObject({ kind: z.literal("context") }),
  z.strictObject({
    kind: z.enum(["product", "ratio", "difference"]),
    feature: index,
    other: index,
  }),
]);
/** How a column of a table becomes numbers; null levels: it is a number. */
const feature = z.strictObject({
  name: z.string(),
  levels: z.array(z.string()).nullable(),
  time: z.boolean(),
});
const rule = z.strictObject({
  weights: z.array(finite),
  by_context: z.array(finite).nullable(),
});
const curve = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("platt"), slope: finite, shift: finite }),
  z.strictObject({ kind: z.literal("isotonic"), from: z.array(finite), value: z.array(finite) }),
]);
const bag = z.strictObject({
  columns: z.array(spec).min(1),
  /** Bytes of the learner; 0 = there is none. */
  plain_bytes: z.int().min(0),
  wrong_bytes: z.int().min(0),
});
const header = z.strictObject({
  schema: z.literal("magnet.tabular_model/1"),
  metric: z.string(),
  classes: z.array(z.string()).min(2).max(1024),
  contexts: z.array(z.string()),
  context_column: z.string().nullable(),
  pipeline_column: z.string().nullable(),
  features: z.array(feature).min(1),
  configuration: tabularConfiguration,
  members: z.array(z.array(bag).min(1)).min(1),
  combination: z.strictObject({
    weights: z.array(finite),
    levels: z.array(z.array(finite)),
    powers: z.array(finite),
    votes: z.array(rule).nullable(),
  }),
  calibration: z.array(curve),
  rule,
});
export type ModelHeader = z.infer<typeof header>;
export type SavedFeature = z.infer<typeof feature>;

/** One bag of a member, ready to predict. */
export interface LoadedBag {
  readonly columns: readonly ColumnSpec[];
  readonly plain: MemberModel | null;
  readonly wrong: MemberModel | null;
}

export interface LoadedModel {
  readonly header: ModelHeader;
  readonly members: readonly (readonly LoadedBag[])[];
  readonly level: SecondLevel;
}

export const freeModel = (model: LoadedModel): void => {
  for (const bags of model.members)
    for (const { plain, wrong } of bags) {
      plain?.free();
      wrong?.free();
    }
};

type HeaderWithoutMembers = Omit<
  ModelHeader,
  "schema" | "members" | "combination" | "calibration" | "rule"
>;

/** The whole pipeline as bytes. */
export function saveModel(
  head: HeaderWithoutMembers,
  members: readonly (readonly LoadedBag[])[],
  level: SecondLevel,
): Uint8Array {
  const blobs: Uint8Array[] = [];
  const bytesOf = (model: MemberModel | null): number => {
    if (model === null) return 0;
    blobs.push(model.save());
    return blobs.at(-1)!.length;
  };
  const saved: ModelHeader = {
    schema: "magnet.tabular_model/1",
    ...head,
    members: members.map((bags) =>
      bags.map((b) => ({
        columns: [...b.columns],
        plain_bytes: bytesOf(b.plain),
        wrong_bytes: bytesOf(b.wrong),
      })),
    ),
    combination: {
      weights: [...level.combination.weights],
      levels: level.combination.levels.map((l) => [...l]),
      powers: [...level.combination.powers],
      votes: level.combination.votes?.map(savedRule) ?? null,
    },
    calibration: level.calibration.map((c) =>
      c.kind === "platt" ? c : { kind: c.kind, from: [...c.from], value: [...c.value] },
    ),
    rule: savedRule(level.rule),
  };
  const text = new TextEncoder().encode(JSON.stringify(saved));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, text.length, true);
  return new Uint8Array(Buffer.concat([MAGIC, length, text, ...blobs]));
}

const savedRule = (r: SecondLevel["rule"]) => ({
  weights: [...r.weights],
  by_context: r.byContext === null ? null : [...r.byContext],
});

const bad = (message: string, cause?: unknown): MagnetError =>
  new MagnetError("BAD_MODEL", `not a saved tabular model: ${message}`, {
    hint: "give a file that `magnet research run` wrote",
    cause,
  });

/** Throws BAD_MODEL on anything that saveModel did not write. */
export function loadModel(bytes: Uint8Array, learners: Learners): LoadedModel {
  if (bytes.length < MAGIC.length + 4 || MAGIC.some((byte, i) => bytes[i] !== byte))
    throw bad("the first bytes are wrong");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(MAGIC.length, true);
  let at = MAGIC.length + 4;
  if (length > MODEL_HEADER_BYTES_MAX || at + length > bytes.length) throw bad("it is cut off");
  const head = parseHeader(bytes.subarray(at, at + length));
  at += length;
  const loaded: MemberModel[] = [];
  const take = (size: number, outputs: string): MemberModel | null => {
    if (size === 0) return null;
    if (at + size > bytes.length) throw bad(`the ${outputs} learner is cut off`);
    const model = loadMemberModel(bytes.slice(at, at + size), learners);
    loaded.push(model);
    at += size;
    return model;
  };
  try {
    const members = head.members.map((bags) =>
      bags.map((b) => ({
        columns: b.columns,
        plain: take(b.plain_bytes, "class"),
        wrong: take(b.wrong_bytes, "residual"),
      })),
    );
    if (at !== bytes.length) throw bad("there are bytes after its end");
    return { header: head, members, level: levelOf(head) };
  } catch (error) {
    for (const model of loaded) model.free();
    throw error;
  }
}

function parseHeader(bytes: Uint8Array): ModelHeader {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw bad("its header is not JSON", error);
  }
  const parsed = header.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw bad(`${issue.path.join(".")}: ${issue.message}`, parsed.error);
  }
  checkShapes(parsed.data);
  return parsed.data;
}

/** What the schema cannot say: lists of matching lengths, columns that are there. */
function checkShapes(h: ModelHeader): void {
  const classes = h.classes.length;
  const members = h.members.length;
  const rules = [h.rule, ...(h.combination.votes ?? [])];
  for (const r of rules) {
    if (r.weights.length !== classes) throw bad("a rule has other classes");
    if (r.by_context !== null && r.by_context.length !== classes * h.contexts.length)
      throw bad("a rule has other contexts");
  }
  const { weights, levels, powers, votes } = h.combination;
  const lists = [levels.length, ...(votes === null ? [] : [votes.length])];
  if (
    weights.length !== members ||
    powers.length !== members ||
    (members > 1 && lists.some((n) => n !== members))
  )
    throw bad("the combination has other members");
  if (levels.some((level) => level.length !== classes)) throw bad("a level has other classes");
  const curves = h.calibration.length;
  if (curves !== 0 && curves !== (classes === 2 ? 1 : classes)) throw bad("curves are missing");
  for (const c of h.calibration)
    if (c.kind === "isotonic" && (c.from.length === 0 || c.from.length !== c.value.length))
      throw bad("a curve has no shape");
  for (const { columns, plain_bytes, wrong_bytes } of h.members.flat()) {
    if (plain_bytes + wrong_bytes === 0) throw bad("a member has no learner");
    for (const s of columns) {
      const used = "other" in s ? [s.feature, s.other] : "feature" in s ? [s.feature] : [];
      if (used.some((f) => f >= h.features.length)) throw bad("a column has no feature");
    }
  }
}

function levelOf(h: ModelHeader): SecondLevel {
  const ruleOf = (r: ModelHeader["rule"]) => ({
    weights: Float64Array.from(r.weights),
    byContext: r.by_context === null ? null : Float64Array.from(r.by_context),
  });
  return {
    combination: {
      weights: Float64Array.from(h.combination.weights),
      levels: h.combination.levels.map((level) => Float64Array.from(level)),
      powers: Float64Array.from(h.combination.powers),
      votes: h.combination.votes?.map(ruleOf) ?? null,
    },
    calibration: h.calibration.map((c) =>
      c.kind === "platt"
        ? c
        : { kind: c.kind, from: Float64Array.from(c.from), value: Float64Array.from(c.value) },
    ),
    rule: ruleOf(h.rule),
  };
}
