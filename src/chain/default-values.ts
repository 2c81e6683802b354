/**
 * The governed constants of a private network as `magnet chain deploy` sets them, in one place, and
 * the JSON in which they are read, shown and overridden. The bounds are the contract's own (Params);
 * this file checks shapes only.
 */
import { z } from "zod";
import { MagnetError } from "../core/errors.ts";
import { readSmallText } from "../core/read-file.ts";
import { MAG, parseMag } from "./amounts.ts";

/** Shares of a payment in basis points. */
export interface Split {
  provider: number;
  treasury: number;
  burned: number;
}

/** `Values` of the contracts (ILedgerTypes.sol), by the same names. */
export interface Values {
  epochPool: bigint;
  dailyCap: bigint;
  annualCap: bigint;
  commitSeconds: number;
  revealSeconds: number;
  proposerSeconds: number;
  challengeSeconds: number;
  settleSeconds: number;
  voteCommitSeconds: number;
  voteRevealSeconds: number;
  unbondingSeconds: number;
  dataChallengeSeconds: number;
  tierRewards: readonly [number, number, number, number, number];
  tierBonds: readonly [bigint, bigint, bigint, bigint, bigint];
  notaryBond: bigint;
  challengerBond: bigint;
  slashBps: readonly [number, number, number, number, number, number];
  axisWeights: readonly [number, number, number, number, number];
  splits: readonly [Split, Split, Split];
  dataFee: bigint;
  panelSize: number;
  benchmarkHash: `0x${string}`;
}

/** Length of an epoch (paper 13: ten minutes). Fixed when the ledger is deployed. */
export const DEFAULT_EPOCH_SECONDS = 600;

export const DEFAULT_VALUES: Values = {
  epochPool: 1000n * MAG,
  // 144 epochs of ten minutes, and 365 such days.
  dailyCap: 144_000n * MAG,
  annualCap: 52_560_000n * MAG,
  commitSeconds: 90,
  revealSeconds: 90,
  proposerSeconds: 60,
  challengeSeconds: 120,
  settleSeconds: 3600,
  voteCommitSeconds: 120,
  voteRevealSeconds: 120,
  unbondingSeconds: 3600,
  dataChallengeSeconds: 600,
  tierRewards: [3000, 1000, 300, 300, 100],
  tierBonds: [300n * MAG, 100n * MAG, 30n * MAG, 30n * MAG, 10n * MAG],
  notaryBond: 100n * MAG,
  challengerBond: 20n * MAG,
  slashBps: [1000, 3000, 3000, 5000, 10_000, 10_000],
  axisWeights: [1000, 5000, 2000, 1000, 1000],
  splits: [
    { provider: 5000, treasury: 3000, burned: 2000 },
    { provider: 8000, treasury: 1000, burned: 1000 },
    { provider: 8000, treasury: 1000, burned: 1000 },
  ],
  dataFee: 5n * MAG,
  // All who can judge do: of a panel of four, a third of false notaries sway one in nine.
  panelSize: 31,
  benchmarkHash: `0x${"00".repeat(32)}`,
};

/** How the token's holders change values: the constructor arguments of governor and timelock. */
export interface Governance {
  /** From a proposal to its vote, and the vote's length, seconds. */
  voting_delay_s: number;
  voting_period_s: number;
  /** From a vote that passed to its effect. */
  timelock_delay_s: number;
  /** Votes that a proposer needs; the quorum as a share of the votes there are, and at least. */
  proposal_threshold: bigint;
  quorum_percent: number;
  quorum_floor: bigint;
}

export const DEFAULT_GOVERNANCE: Governance = {
  voting_delay_s: 3600,
  voting_period_s: 3 * 86_400,
  timelock_delay_s: 86_400,
  proposal_threshold: 100n * MAG,
  quorum_percent: 10,
  quorum_floor: 1000n * MAG,
};

const WINDOWS = [
  "commitSeconds",
  "revealSeconds",
  "proposerSeconds",
  "challengeSeconds",
  "settleSeconds",
  "voteCommitSeconds",
  "voteRevealSeconds",
  "unbondingSeconds",
  "dataChallengeSeconds",
] as const;

/** The default values for epochs of another length: every window in proportion, at least 1 s. */
export function defaultValues(epoch_seconds = DEFAULT_EPOCH_SECONDS): Values {
  const scaled = WINDOWS.map((name) => {
    const window_s = (DEFAULT_VALUES[name] * epoch_seconds) / DEFAULT_EPOCH_SECONDS;
    return [name, Math.max(1, Math.round(window_s))];
  });
  return { ...DEFAULT_VALUES, ...Object.fromEntries(scaled) };
}

/** Base units as a decimal string, or an amount with its unit: "1000 MAG". */
const amount = z.string().transform((text, context) => {
  if (/^\d{1,29}$/.test(text)) return BigInt(text);
  const mag = /^(\d{1,11}(?:\.\d{1,18})?) MAG$/.exec(text);
  if (mag !== null) return parseMag(mag[1]!);
  context.addIssue({ code: "custom", message: 'must be base units, or like "12.5 MAG"' });
  return z.NEVER;
});
const seconds = z.int().min(0).max(0xffffffff);
const bps = z.int().min(0).max(10_000);
const split = z
  .strictObject({ provider: bps, treasury: bps, burned: bps })
  .refine((s) => s.provider + s.treasury + s.burned === 10_000, "must sum to 10000");
const five = <T extends z.ZodType>(item: T) => z.tuple([item, item, item, item, item]);

/** The file's fields: those of `Values` in snake_case, and governance; all optional. */
const settingsFile = z
  .strictObject({
    epoch_pool: amount,
    daily_cap: amount,
    annual_cap: amount,
    commit_seconds: seconds,
    reveal_seconds: seconds,
    proposer_seconds: seconds,
    challenge_seconds: seconds,
    settle_seconds: seconds,
    vote_commit_seconds: seconds,
    vote_reveal_seconds: seconds,
    unbonding_seconds: seconds,
    data_challenge_seconds: seconds,
    tier_rewards: five(z.int().min(0).max(0xffff)),
    tier_bonds: five(amount),
    notary_bond: amount,
    challenger_bond: amount,
    slash_bps: z.tuple([bps, bps, bps, bps, bps, bps]),
    axis_weights: five(bps),
    splits: z.strictObject({ data_fee: split, research_job: split, api_income: split }),
    data_fee: amount,
    panel_size: z.int().min(1).max(31),
    benchmark_hash: z.string().regex(/^0x[0-9a-f]{64}$/, "0x and 64 lower-case hexadecimal digits"),
    governance: z
      .strictObject({
        voting_delay_s: seconds,
        voting_period_s: seconds.min(1),
        timelock_delay_s: seconds,
        proposal_threshold: amount,
        quorum_percent: z.int().min(1).max(100),
        quorum_floor: amount,
      })
      .partial(),
  })
  .partial();

/** What a file of values says. */
export interface Settings {
  values: Values;
  governance: Governance;
}

const camel = (name: string) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

const HINT = "magnet chain params show --defaults --json prints every field";
const withoutUndefined = (fields: object) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));

/** A document of `params show --json` has the values in a part of their own. */
function fieldsOf(document: unknown): unknown {
  const { values, governance } = (document ?? {}) as { values?: unknown; governance?: unknown };
  if (typeof values !== "object" || values === null) return document;
  return { ...values, ...(governance !== undefined && { governance }) };
}

/** `base` with the fields that a parsed JSON document names. Throws VALUES_INVALID. */
export function mergeSettings(document: unknown, where: string, base: Settings): Settings {
  const parsed = settingsFile.safeParse(fieldsOf(document));
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const field = issue.path.join(".") || "document";
    throw new MagnetError("VALUES_INVALID", `${where}: ${field}: ${issue.message}`, {
      hint: HINT,
      exit: "config",
    });
  }
  const { splits, governance, ...rest } = parsed.data;
  const given = Object.entries(withoutUndefined(rest));
  const values = {
    ...base.values,
    ...Object.fromEntries(given.map(([name, value]) => [camel(name), value])),
    ...(splits && { splits: [splits.data_fee, splits.research_job, splits.api_income] }),
  } as Values;
  return { values, governance: { ...base.governance, ...withoutUndefined(governance ?? {}) } };
}

/** A file of at most 64 KiB: a few lines of numbers. */
const FILE_LIMIT_BYTES = 64 << 10;

/** Reads `--values FILE`. Throws VALUES_INVALID and the system's own failures. */
export function readSettings(file: string, base: Settings): Settings {
  const text = readSmallText(file, FILE_LIMIT_BYTES);
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw new MagnetError("VALUES_INVALID", `${file} is not JSON`, {
      hint: HINT,
      exit: "config",
      cause: error,
    });
  }
  return mergeSettings(document, file, base);
}

const jsonValue = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(jsonValue);
  return typeof value === "bigint" ? String(value) : value;
};

/** Values as JSON: snake_case, amounts in base units as decimal strings. */
export function valuesToJson(values: Values): Record<string, unknown> {
  const [data_fee, research_job, api_income] = values.splits;
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      snake(name),
      name === "splits" ? { data_fee, research_job, api_income } : jsonValue(value),
    ]),
  );
}

/** Governance as JSON, in the same manner. */
export const governanceToJson = (governance: Governance): Record<string, unknown> =>
  Object.fromEntries(Object.entries(governance).map(([name, value]) => [name, jsonValue(value)]));
