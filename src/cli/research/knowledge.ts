/** `magnet research knowledge`: what all runs have taught: browse, exchange with other nodes. */
import fs from "node:fs";
import path from "node:path";
import { keyStorageOf } from "../../agent/key-place.ts";
import { systemClock } from "../../core/clock.ts";
import { toMagnetError } from "../../core/errors.ts";
import { systemRandom } from "../../core/random.ts";
import type { PublicKey } from "../../core/types.ts";
import { openIdentity } from "../../network/key-storage.ts";
import { exportKnowledge, importKnowledge } from "../../research/knowledge/exchange.ts";
import { KnowledgeBase, type KnownInsight } from "../../research/knowledge/knowledge-base.ts";
import { percent, signed } from "../../research/report/facts.ts";
import { type Context, defineCommand, defineGroup } from "../frame/command.ts";
import { table } from "../frame/output.ts";
import { usageError } from "../frame/strict.ts";
import { knowledgeFile } from "./place.ts";

const RESULTS = ["accepted", "tied", "worse", "crashed"] as const;
const FILE_FLAG = {
  type: "string",
  value: "FILE",
  summary: "knowledge base (default: this machine's)",
} as const;

async function openBase(context: Context, file: string | undefined): Promise<KnowledgeBase> {
  const place = file ?? knowledgeFile(await context.config());
  fs.mkdirSync(path.dirname(path.resolve(place)), { recursive: true });
  return KnowledgeBase.open(place, systemClock);
}

function requireKey(name: string, key: string): void {
  if (!/^0[23][0-9a-f]{64}$/.test(key))
    throw usageError("BAD_VALUE", `${name} is no public key`, "66 hex digits: magnet keys show");
}

/** "node" part of an origin for a column. */
const originText = (origin: string) => (origin === "local" ? "here" : origin.slice(2, 10));

/** Evidence on one strategy over all tasks. */
function strategyRows(known: readonly KnownInsight[]): (string | number)[][] {
  const groups = new Map<string, KnownInsight[]>();
  for (const k of known) {
    const list = groups.get(k.insight.strategy);
    if (list) list.push(k);
    else groups.set(k.insight.strategy, [k]);
  }
  const rows = [...groups].map(([strategy, all]) => {
    const gains = all.flatMap(({ insight }) =>
      insight.difference ? [insight.difference.difference] : [],
    );
    const mean = gains.reduce((sum, gain) => sum + gain, 0) / Math.max(1, gains.length);
    const accepted = all.filter(({ insight }) => insight.result === "accepted").length;
    const tasks = new Set(all.map(({ insight }) => insight.task_hash)).size;
    const trials = all.reduce((sum, { insight }) => sum + insight.trials, 0);
    return { strategy, tasks, uses: all.length, accepted, mean, gains: gains.length, trials };
  });
  return rows
    .sort((a, b) => b.mean - a.mean)
    .map((r) => [
      ...[r.strategy, r.tasks, r.uses, percent(r.accepted / r.uses)],
      r.gains === 0 ? "-" : signed(r.mean),
      r.trials,
    ]);
}

const show = defineCommand({
  summary: "Shows which strategies helped, over all tasks",
  examples: [
    { command: "magnet research knowledge", does: "by strategy, best first" },
    { command: "magnet research knowledge --task churn", does: "of one task" },
  ],
  args: {},
  flags: {
    domain: { type: "choice", options: ["tabular", "series", "language"], summary: "only of it" },
    task: { type: "string", value: "NAME", summary: "only of this task" },
    knowledge: FILE_FLAG,
  },
  async run(context, { flags }) {
    const base = await openBase(context, flags.knowledge);
    try {
      const known = base.list({ domain: flags.domain, task: flags.task });
      const tasks = new Set(known.map(({ insight }) => insight.task_hash)).size;
      const insights = known.map(({ insight, origin }) => ({ ...insight, origin }));
      context.out.result("research_knowledge", { tasks, insights }, () =>
        known.length === 0
          ? flags.domain === undefined && flags.task === undefined
            ? "nothing is known yet; runs add to it: magnet research run TASK.json"
            : "nothing is known of that domain and task; without flags everything is shown"
          : [
              table(
                ["strategy", "tasks", "uses", "accepted", "mean gain", "trials"],
                strategyRows(known),
              ),
              `${known.length} insights from ${tasks} tasks; one by one: magnet research knowledge list`,
            ].join("\n"),
      );
      return undefined;
    } finally {
      base.close();
    }
  },
});

const list = defineCommand({
  summary: "Shows the insights one by one, failures too",
  examples: [
    { command: "magnet research knowledge list --result worse", does: "what did not help" },
  ],
  args: {},
  flags: {
    domain: { type: "choice", options: ["tabular", "series", "language"], summary: "only of it" },
    strategy: { type: "string", value: "ID", summary: "only of this strategy" },
    task: { type: "string", value: "NAME", summary: "only of this task" },
    result: { type: "choice", options: RESULTS, summary: "only with this result" },
    limit: { type: "integer", min: 1, max: 100_000, default: 50, summary: "newest shown" },
    knowledge: FILE_FLAG,
  },
  async run(context, { flags }) {
    const base = await openBase(context, flags.knowledge);
    try {
      const { domain, strategy, task } = flags;
      const result = flags.result as (typeof RESULTS)[number] | undefined;
      const all = base.list({ domain, strategy, task, result });
      const shown = all.slice(0, flags.limit);
      const insights = shown.map(({ insight, origin }) => ({ ...insight, origin }));
      context.out.result("research_knowledge_list", { total: all.length, insights }, () =>
        [
          table(
            ["task", "strategy", "result", "difference", "interval", "trials", "CPU s", "from"],
            shown.map(({ insight, origin }) => {
              const d = insight.difference;
              return [
                ...[insight.signature.facts.name, insight.strategy, insight.result],
                d ? signed(d.difference) : "-",
                d ? `${signed(d.low)} to ${signed(d.high)}` : "-",
                ...[insight.trials, insight.cpu_s.toFixed(1), originText(origin)],
              ];
            }),
          ),
          `${shown.length} of ${all.length}`,
        ].join("\n"),
      );
      return undefined;
    } finally {
      base.close();
    }
  },
});

const exportCommand = defineCommand({
  summary: "Writes what this machine has learnt to a file signed with its key",
  details: "No row of any data set is in it: only signatures of tasks, strategies and differences.",
  examples: [
    { command: "magnet research knowledge export --out mine.json", does: "for other nodes" },
  ],
  args: {},
  flags: {
    out: { type: "string", value: "FILE", required: true, summary: "must not exist yet" },
    all: { type: "boolean", summary: "also what other nodes told" },
    knowledge: FILE_FLAG,
  },
  async run(context, { flags }) {
    const { values } = await context.config();
    const storage = keyStorageOf(values, process.env);
    const { identity } = openIdentity(storage, systemRandom);
    const base = await openBase(context, flags.knowledge);
    try {
      const file = exportKnowledge(base, identity, flags.all);
      try {
        fs.writeFileSync(flags.out, `${JSON.stringify(file)}\n`, { flag: "wx" });
      } catch (error) {
        throw toMagnetError(error);
      }
      const { public_key, insights } = file;
      context.out.result(
        "research_knowledge_export",
        { file: flags.out, public_key, insights: insights.length },
        `${insights.length} insights in ${flags.out}, signed by ${public_key}`,
      );
      return undefined;
    } finally {
      base.close();
    }
  },
});

const importCommand = defineCommand({
  summary: "Takes what another node has learnt",
  details:
    "The signature is checked, and every insight. An insight that is known already counts once.",
  examples: [
    { command: "magnet research knowledge import theirs.json", does: "adds what is new" },
    {
      command: "magnet research knowledge import theirs.json --from 02ab...",
      does: "only if this key signed it",
    },
  ],
  args: { file: { value: "FILE", summary: "written by knowledge export" } },
  flags: {
    from: { type: "string", value: "KEY", summary: "public key that must have signed it" },
    knowledge: FILE_FLAG,
  },
  async run(context, { args, flags }) {
    if (flags.from !== undefined) requireKey("--from", flags.from);
    const base = await openBase(context, flags.knowledge);
    try {
      const taken = importKnowledge(base, args.file, flags.from as PublicKey | undefined);
      context.out.result(
        "research_knowledge_import",
        taken,
        `${taken.added} of ${taken.insights} insights are new; signed by ${taken.public_key}`,
      );
      return undefined;
    } finally {
      base.close();
    }
  },
});

const forget = defineCommand({
  summary: "Forgets what a node told",
  examples: [{ command: "magnet research knowledge forget 02ab...", does: "all of its insights" }],
  args: { key: { value: "KEY", summary: "public key of the node" } },
  flags: { knowledge: FILE_FLAG },
  async run(context, { args, flags }) {
    requireKey("KEY", args.key);
    const base = await openBase(context, flags.knowledge);
    try {
      const forgotten = base.forget(args.key as PublicKey);
      context.out.result(
        "research_knowledge_forget",
        { public_key: args.key, forgotten },
        `${forgotten} insights forgotten`,
      );
      return undefined;
    } finally {
      base.close();
    }
  },
});

export const knowledge = defineGroup(
  "what all runs have taught: show, list, export, import, forget",
  { list, export: exportCommand, import: importCommand, forget },
  show,
);
