/**
 * What was learnt over all runs of this machine, and what other nodes told (paper 5): a SQLite file
 * of insights, failures among them, each with its task's signature, paired difference, interval,
 * trials, seeds, fingerprint of the data and cost. An insight is there once, under its key, however
 * often and from whomever it comes; the first to tell it is believed, but this machine may correct
 * itself: a run that was undone because a node had lied comes to other insights.
 */
import type { Database } from "bun:sqlite";
import { type Clock, systemClock } from "../../core/clock.ts";
import { openDatabase } from "../../core/database.ts";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import type { PublicKey } from "../../core/types.ts";
import type { Insight, KnowledgeSource, Priors, Signature } from "../loop/faces.ts";
import { insightSchema } from "./insight-schema.ts";
import { priorsFrom } from "./prior.ts";

const VERSION = 1;
const TABLES = `
CREATE TABLE IF NOT EXISTS insights (
  key TEXT PRIMARY KEY, origin TEXT NOT NULL, task_hash TEXT NOT NULL, task TEXT NOT NULL,
  domain TEXT NOT NULL, metric TEXT NOT NULL, strategy TEXT NOT NULL, result TEXT NOT NULL,
  insight TEXT NOT NULL, recorded_ms INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS insights_by_domain ON insights (domain, metric);
`;

const IGNORE = "DO NOTHING";
const CORRECT = `DO UPDATE SET result = excluded.result, insight = excluded.insight
  WHERE origin = 'local'`;

/** Who told an insight: this machine, or the node that signed a file. */
export type Origin = "local" | PublicKey;

/** An insight as it is kept. */
export interface KnownInsight {
  readonly insight: Insight;
  readonly origin: Origin;
  readonly recorded_ms: number;
}

export interface InsightFilter {
  readonly domain?: string | undefined;
  readonly strategy?: string | undefined;
  /** Name of the task. */
  readonly task?: string | undefined;
  readonly result?: Insight["result"] | undefined;
}

interface Row {
  insight: string;
  origin: string;
  recorded_ms: number;
}

const known = (row: Row): KnownInsight => ({
  insight: JSON.parse(row.insight) as Insight,
  origin: row.origin as Origin,
  recorded_ms: row.recorded_ms,
});

export class KnowledgeBase implements KnowledgeSource {
  readonly #database: Database;
  readonly #clock: Clock;

  private constructor(database: Database, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /** Opens or creates the file (":memory:" for none). Throws KNOWLEDGE_CORRUPT, disk errors. */
  static open(file: string, clock: Clock = systemClock): KnowledgeBase {
    const database = openDatabase({
      ...{ file, version: VERSION, tables: TABLES },
      // A resumed run records its insights again: nothing is lost in a power failure.
      durable: false,
      unusable: (message, cause) =>
        new MagnetError("KNOWLEDGE_CORRUPT", message, {
          hint: "move the file away; magnet research knowledge import brings back what was exported",
          cause,
        }),
    });
    return new KnowledgeBase(database, clock);
  }

  #guarded<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      const code = String((error as { code?: unknown }).code);
      if (code.startsWith("SQLITE_CORRUPT") || code === "SQLITE_NOTADB")
        throw new MagnetError("KNOWLEDGE_CORRUPT", (error as Error).message, {
          hint: "move the file away; magnet research knowledge import brings back an export",
          cause: error,
        });
      throw toMagnetError(error);
    }
  }

  prior(signature: Signature, version = 1): Priors {
    const query = "SELECT * FROM insights WHERE domain = ? AND metric = ? ORDER BY key";
    const rows = this.#guarded(() =>
      this.#database.query(query).all(signature.facts.domain, signature.metric),
    ) as Row[];
    return priorsFrom(
      rows.map((row) => known(row).insight),
      signature,
      version,
    );
  }

  record(insight: Insight): void {
    this.merge([insight], "local");
  }

  /** Takes what is not known yet; returns how many it took. Throws BAD_INSIGHT. */
  merge(insights: readonly Insight[], origin: Origin): number {
    const checked = insights.map(checkInsight);
    const query = `INSERT INTO insights
      (key, origin, task_hash, task, domain, metric, strategy, result, insight, recorded_ms)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) ${origin === "local" ? CORRECT : IGNORE}`;
    const now_ms = this.#clock.now_ms();
    let added = 0;
    const insert = this.#database.transaction(() => {
      for (const insight of checked) {
        const { facts, metric } = insight.signature;
        added += this.#database
          .query(query)
          .run(
            ...[insight.key, origin, insight.task_hash, facts.name, facts.domain, metric],
            ...[insight.strategy, insight.result, JSON.stringify(insight), now_ms],
          ).changes;
      }
    });
    this.#guarded(() => insert.immediate());
    return added;
  }

  /** Insights by what is asked, latest first. */
  list(filter: InsightFilter = {}): KnownInsight[] {
    const wanted = Object.entries(filter).filter(([, value]) => value !== undefined);
    // The names are those of InsightFilter, never a text from outside.
    const where = wanted.map(([name]) => `${name} = ?`).join(" AND ") || "1";
    const query = `SELECT * FROM insights WHERE ${where} ORDER BY recorded_ms DESC, key`;
    const values = wanted.map(([, value]) => value as string);
    return (this.#guarded(() => this.#database.query(query).all(...values)) as Row[]).map(known);
  }

  /** Forgets what a node told. Returns how many insights that were. */
  forget(origin: Origin): number {
    const query = "DELETE FROM insights WHERE origin = ?";
    return this.#guarded(() => this.#database.query(query).run(origin)).changes;
  }

  close(): void {
    this.#database.close();
  }
}

/** Throws BAD_INSIGHT, naming the field. */
export function checkInsight(value: unknown): Insight {
  const parsed = insightSchema.safeParse(value);
  if (parsed.success) return parsed.data as unknown as Insight;
  const issue = parsed.error.issues[0]!;
  throw new MagnetError("BAD_INSIGHT", `${issue.path.join(".") || "insight"}: ${issue.message}`, {
    hint: "the file was damaged, or written by another program",
    exit: "verification",
  });
}
