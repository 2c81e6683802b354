/** The first row of the table: magnet against randomised searches, the same CPU seconds and rows. */
import { type Cell, magnetCell, peerCell, writeRows, writeTask } from "./cells.ts";
import { inParallel, stored, type TableOptions } from "./places.ts";
import { type SetFigures, tallySet } from "./tally.ts";

const SYSTEMS = ["magnet", "sklearn", "xgboost"] as const;

async function cellOf(options: TableOptions, set: string, seed: number, system: string) {
  const { places, cpu_s } = options;
  return stored<Cell>(places, `search-${set}-${seed}-${system}-${cpu_s}`, async () => {
    const task = writeTask(places, set, seed);
    const { file, rows } = await writeRows(task);
    return system === "magnet"
      ? magnetCell(places, task, rows, cpu_s)
      : peerCell(places, task, file, system, cpu_s);
  });
}

export async function searchRows(options: TableOptions): Promise<SetFigures[]> {
  const { sets, seeds, places } = options;
  const keys = sets.flatMap((set) =>
    seeds.flatMap((seed) => SYSTEMS.map((system) => [set, seed, system] as const)),
  );
  await inParallel(
    keys.map((key) => () => cellOf(options, ...key)),
    options.parallel,
  );
  const figures: SetFigures[] = [];
  for (const set of sets) {
    const rows = [];
    for (const seed of seeds) rows.push((await writeRows(writeTask(places, set, seed))).rows);
    const cells: Record<string, Cell[]> = {};
    for (const system of SYSTEMS)
      cells[system] = await Promise.all(seeds.map((seed) => cellOf(options, set, seed, system)));
    figures.push(tallySet(set, { rows, cells }));
  }
  return figures;
}

const fixed = (x: number) => x.toFixed(4);

export function searchText(figures: readonly SetFigures[]): string {
  const lines = [
    "| set | seeds | magnet [95%] | scikit-learn | XGBoost | - best peer [95%] | rank | CPU s | trials |",
    "|---|---|---|---|---|---|---|---|---|",
  ];
  let held = 0;
  for (const f of figures) {
    const { magnet, sklearn, xgboost } = f.scores;
    const { value, low, high } = f.difference;
    if (high >= 0) held++;
    const each = (of: { readonly [system: string]: number }, digits: number) =>
      SYSTEMS.map((system) => of[system]!.toFixed(digits)).join(" / ");
    lines.push(
      `| ${f.set} | ${f.seeds} | ${fixed(magnet!.value)} [${fixed(magnet!.low)}, ${fixed(magnet!.high)}] | ` +
        `${fixed(sklearn!.value)} | ${fixed(xgboost!.value)} | ` +
        `${value >= 0 ? "+" : ""}${fixed(value)} [${fixed(low)}, ${fixed(high)}] | ${f.ranks.magnet} | ` +
        `${each(f.cpu_s, 1)} | ${each(f.trials, 0)} |`,
    );
  }
  const mean = (system: string) =>
    figures.reduce((sum, f) => sum + f.ranks[system]!, 0) / figures.length;
  lines.push(
    "",
    `mean rank: ${SYSTEMS.map((system) => `${system} ${mean(system).toFixed(2)}`).join(", ")}`,
    `better than the best peer, or equal within the noise: ${held} of ${figures.length}`,
  );
  return lines.join("\n");
}
