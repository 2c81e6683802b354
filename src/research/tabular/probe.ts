/**
 * The probe of error analysis: fits of changed configurations on a sample of the search rows. What
 * a probe gives follows from its request alone, so it is kept: a version whose leader is the same,
 * or differs in its decision rule only, pays for no probe again.
 */
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import type { Probe, ProbeRequest } from "../analysis/input.ts";
import { timeOrder } from "../evaluation/by-time.ts";
import { stratifiedFolds } from "../evaluation/split.ts";
import type { Fold } from "../table/types.ts";
import { ByteCache } from "./cache.ts";
import { PROBE_CACHE_BYTES_MAX } from "./limits.ts";
import { allRows, type Part } from "./part.ts";
import { freeMember, type PartFitter } from "./part-fitter.ts";

/** Folds and fits of a probe depend on nothing that a trial can choose. */
const PROBE_SEED = 1;

/** Stands for exactly these rows, however many they are. */
const nameOf = (rows: Uint32Array): string =>
  sha256Hex(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength));

export class Prober {
  private readonly fitter: PartFitter;
  private readonly by_time: boolean;
  private readonly kept = new ByteCache<Float32Array>(PROBE_CACHE_BYTES_MAX);

  constructor(fitter: PartFitter, by_time: boolean) {
    this.fitter = fitter;
    this.by_time = by_time;
  }

  /** The probe whose positions are places in `rows` of the part. */
  over(rows: Uint32Array): Probe {
    const of = (positions: Uint32Array) => positions.map((position) => rows[position]!);
    return ({ positions, without = new Uint32Array(), ...request }) =>
      this.ask({ ...request, positions: of(positions), without: of(without) });
  }

  /** Out-of-fold probabilities of rows of the part. */
  private async ask(request: Required<Omit<ProbeRequest, "train_share">> & ProbeRequest) {
    const { configuration, positions, folds, train_share = 1, without } = request;
    const rows = `${folds}|${nameOf(positions)}|${train_share}|${nameOf(without)}`;
    const key = `${rows}|${canonicalJson(configuration)}`;
    const known = this.kept.get(key);
    if (known !== undefined) return known;
    const { part } = this.fitter;
    const { classes } = part;
    const at = new Map(Array.from(positions, (row, i) => [row, i]));
    const out = new Float32Array(positions.length * classes);
    const left = new Set(without);
    const weight = configuration.members.reduce((sum, member) => sum + member.weight, 0);
    const parted = this.by_time
      ? laterBlocks(part, positions, folds)
      : drawnFolds(part, positions, folds);
    for (const fold of parted) {
      const some = shareOf(fold.train, part.label, train_share).filter((row) => !left.has(row));
      const train = { rows: some, key: `probe${nameOf(some)}` };
      for (const member of configuration.members) {
        const p = await this.predict(request, member, train, fold.validation);
        fold.validation.forEach((row, i) => {
          for (let c = 0; c < classes; c++)
            out[at.get(row)! * classes + c]! += (p[i * classes + c]! * member.weight) / weight;
        });
      }
    }
    this.kept.set(key, out, out.byteLength + 2 * key.length);
    return out;
  }

  private async predict(
    { configuration: { rows, target } }: ProbeRequest,
    member: ProbeRequest["configuration"]["members"][number],
    train: { rows: Uint32Array; key: string },
    validation: Uint32Array,
  ): Promise<Float32Array> {
    const settings = { seed: PROBE_SEED, threads: 1 };
    const fitted = await this.fitter.fitMember(member, rows, target, train, settings);
    try {
      return await this.fitter.predict(fitted, member, validation, settings);
    } finally {
      freeMember(fitted);
    }
  }
}

function drawnFolds(part: Part, rows: Uint32Array, folds: number): Fold[] {
  const labelled = {
    label: part.label,
    classes: Array.from({ length: part.classes }, (_, c) => String(c)),
    group: part.group,
    context: part.context,
    contexts: [],
  };
  return stratifiedFolds(labelled, rows, { folds, repeats: 1 }, PROBE_SEED);
}

/** The rows in blocks of time; each is fitted on as many older rows of the part as a fold has. */
function laterBlocks(part: Part, rows: Uint32Array, folds: number): Fold[] {
  const time = part.time!;
  const order = timeOrder(Float64Array.from(rows, (row) => time[row]!)).map((i) => rows[i]!);
  const wanted = (rows.length * (folds - 1)) / folds;
  return Array.from({ length: folds }, (_, f) => {
    const [from, to] = [f, f + 1].map((k) => Math.floor((k * rows.length) / folds));
    const validation = order.slice(from, to).sort();
    const start = time[order[from!]!]!;
    const older = allRows(part.rows).filter((row) => time[row]! < start);
    return { train: shareOf(older, part.label, wanted / older.length), validation };
  });
}

/** A share of each class's rows. */
function shareOf(rows: Uint32Array, label: Int32Array, share: number): Uint32Array {
  if (share >= 1) return rows;
  const counts = new Map<number, number>();
  for (const row of rows) counts.set(label[row]!, (counts.get(label[row]!) ?? 0) + 1);
  const taken = new Map<number, number>();
  return rows.filter((row) => {
    const c = label[row]!;
    const before = taken.get(c) ?? 0;
    taken.set(c, before + 1);
    // Evenly spread through the file, so that an ordered file is thinned and not cut.
    return Math.floor((before + 1) * share) > Math.floor(before * share) || counts.get(c)! < 3;
  });
}
