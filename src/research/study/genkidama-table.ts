/** The genkidama study for people: the phases as the paper's Table 6 has them, and what was gained. */
import type { Contestant, PhaseResult, StudyResult, StudyRow } from "./genkidama-types.ts";

const bits = (value: number | null) => (value === null ? "failed" : value.toFixed(4));
const times = (value: number) => `${value.toFixed(2)}x`;
const percent = (share: number) => `${(100 * share).toFixed(1)}%`;
const row = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]) =>
  [row(head), row(head.map(() => "---")), ...rows.map(row)].join("\n");

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** Half the width of a range over seeds would say less with three of them: the deviation does. */
function spread(values: readonly number[]): number {
  const middle = mean(values);
  const squares = values.reduce((sum, x) => sum + (x - middle) ** 2, 0);
  return Math.sqrt(squares / Math.max(1, values.length - 1));
}

/** One line for the terminal when a phase is over. */
export function phaseLine({ phase, focus, rows, finding, current }: PhaseResult): string {
  const now = `now ${bits(current.bits_per_byte)} bits per byte at ${times(current.relative_cost)}`;
  return `phase ${phase}, ${focus}, ${rows.length} configurations: ${finding}; ${now} the recipe's cost`;
}

const phaseTable = ({ phases, confirmation, tokens }: StudyResult) =>
  table(
    ["Phase", "Focus", "Configs", "Best bits/byte", "After it", "Cost", "Finding", "Paper's"],
    [
      ...phases.map(({ phase, focus, rows, best, current, finding, paper }) => [
        ...[String(phase), focus, String(rows.length), bits(best?.bits_per_byte ?? null)],
        ...[bits(current.bits_per_byte), times(current.relative_cost), finding, paper.finding],
      ]),
      [
        ...["10", "Final validation", String(confirmation.length)],
        ...[bits(bestBits(confirmation)), "-", "-"],
        ...[`at ${(4 * tokens).toLocaleString("en")} tokens, not comparable`, "2000 steps"],
      ],
    ],
  );

const bestBits = (rows: readonly StudyRow[]): number | null => {
  const done = rows.flatMap(({ bits_per_byte }) => (bits_per_byte === null ? [] : [bits_per_byte]));
  return done.length === 0 ? null : Math.min(...done);
};

const NAMES: Record<Contestant["name"], string> = {
  recipe: "the recipe",
  winner: "the study's winner",
  train_defaults: "the recipe with the defaults of magnet train (Muon, 0.004)",
};

const finalTable = ({ final }: StudyResult) =>
  table(
    ["At equal tokens", "Bits/byte, sealed", "95% interval", "Deviation of seeds", "CPU s a run"],
    final.contestants.map(({ name, sealed, bits_per_byte, cpu_s }) => [
      ...[NAMES[name], bits(-sealed.score), `${bits(-sealed.high)} to ${bits(-sealed.low)}`],
      ...[spread(bits_per_byte).toFixed(4), mean(cpu_s).toFixed(1)],
    ]),
  );

/** What was gained, in one sentence. */
export function gainLine({ final }: StudyResult): string {
  const { gain, cpu_ratio, difference, seeds, reached } = final;
  return (
    `${percent(gain)} fewer bits per byte than the recipe at equal tokens and ${times(cpu_ratio)} its ` +
    `CPU seconds (difference ${bits(difference.difference)}, 95%: ${bits(difference.low)} to ` +
    `${bits(difference.high)}, ${seeds.length} seeds): the goal of 10% within the same CPU seconds is ` +
    `${reached ? "reached" : "missed"}`
  );
}

const confirmationTable = ({ confirmation, reference }: StudyResult) =>
  table(
    ["At four times the tokens", "Bits/byte, search", "Cost"],
    [reference, ...confirmation].map((one) => [
      ...[one.change, bits(one.bits_per_byte), times(one.relative_cost)],
    ]),
  );

const rowsTable = ({ phases }: StudyResult) =>
  table(
    ["Phase", "Change", "Bits/byte", "Cost", "CPU s", ""],
    phases.flatMap(({ phase, rows, adopted }) =>
      rows.map((one) => [
        ...[String(phase), one.change, bits(one.bits_per_byte), times(one.relative_cost)],
        ...[one.cpu_s.toFixed(1), one === adopted ? "taken" : (one.error ?? "")],
      ]),
    ),
  );

/** The study's page, Markdown. */
export function studyMarkdown(result: StudyResult): string {
  const { tokens, configurations, baseline_bits_per_byte, spent, recipe, winner } = result;
  const minutes = (seconds: number) => (seconds / 60).toFixed(1);
  return [
    "# Study genkidama",
    `${configurations} configurations in 10 phases, ${tokens.toLocaleString("en")} training tokens ` +
      `each, ${minutes(spent.cpu_s)} CPU minutes in ${minutes(spent.wall_s)} minutes. The recipe: ` +
      `${bits(baseline_bits_per_byte)} bits per byte on the search documents.`,
    "## Result",
    gainLine(result),
    finalTable(result),
    "Three seeds that the search did not use, on documents that nothing had looked at before. CPU " +
      "seconds are of training alone, the three models in turn in one process.",
    "## Phases",
    phaseTable(result),
    "A phase's best is taken if it is better beyond doubt (95% interval over documents, one seed) " +
      "and costs little enough: up to 1.25x the recipe in the first five phases, 0.96x from the " +
      "sixth on. Cost is a formula's, so that the study is the same on every machine.",
    "## Longer confirmation",
    confirmationTable(result),
    "The recipe is trained as long, as a reference. These figures are no part of the gain.",
    "## Recipe and winner",
    `\`\`\`json\n${JSON.stringify({ recipe, winner }, null, 2)}\n\`\`\``,
    "## All configurations",
    rowsTable(result),
  ].join("\n\n");
}
