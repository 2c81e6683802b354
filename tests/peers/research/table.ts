/**
 * The table of autoresearch: magnet against its peers on real data (research.sh fetches both). Cells
 * that are done are kept in --results; the whole table is printed at the end and left in table.md.
 * Options: --data DIR --results DIR --sets a,b --seeds 1,2,3 --cpu-s 60 --rows search,... --parallel 2
 */
import fs from "node:fs";
import path from "node:path";
import { contextRows, edgeRows, workerRows } from "./other-rows.ts";
import { say, type TableOptions, tableOptions } from "./places.ts";
import { searchRows, searchText } from "./search-rows.ts";
import { seriesRows } from "./series-row.ts";

const KINDS: Record<string, (options: TableOptions) => Promise<string>> = {
  search: async (options) => searchText(await searchRows(options)),
  contexts: contextRows,
  series: seriesRows,
  edge: edgeRows,
  workers: workerRows,
};

const options = tableOptions(Object.keys(KINDS));
const parts: string[] = [];
let failed = false;
for (const kind of options.rows) {
  try {
    parts.push(`## ${kind}\n\n${await KINDS[kind]!(options)}\n`);
  } catch (error) {
    failed = true;
    say(`${kind}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
const text = parts.join("\n");
fs.writeFileSync(path.join(options.places.results, "table.md"), text);
process.stdout.write(text);
process.exit(failed ? 1 : 0);
