/**
 * Rows that are equal in all features (and context and pipeline). Left apart, a copy in the sealed
 * part would be predicted from its twin; so they form a group that stays in one part and one fold.
 * Where every feature is discrete, equal rows are no copies but the nature of the table (people of
 * the same class, sex and age), and are left apart.
 */
import { DISCRETE_MAX } from "../table/limits.ts";
import type { Column, Note, TaskData } from "../table/types.ts";

/** Discrete features that hardly ever give equal rows: the few equal ones are copies all the same. */
const NATURAL_SHARE = 0.75;

type Rows = Pick<TaskData, "features" | "label" | "context" | "pipeline">;

/** Group by row, or null where no row has an equal or equal rows are natural. */
export function checkDuplicates(data: Rows, notes: Note[]): Int32Array | null {
  const { group, groups } = groupsOf(data);
  const rows = group.length;
  const sizes = new Int32Array(groups);
  for (const g of group) sizes[g]!++;
  const copies = rows - groups;
  if (copies === 0) return null;
  const contradicting = countContradicting(group, groups, data.label, sizes);
  const against =
    contradicting > 0 ? `; ${contradicting} of them have an equal row with another label` : "";
  if (groups < NATURAL_SHARE * rows && data.features.columns.every(isDiscrete)) {
    notes.push({
      code: "FEW_COMBINATIONS",
      text: `the features take only ${groups} different combinations in ${rows} rows${against}`,
      hint: "no model can do better than the most frequent class of each combination",
    });
    return null;
  }
  const equal = sizes.reduce((sum, n) => sum + (n > 1 ? n : 0), 0);
  notes.push({
    code: "DUPLICATE_ROWS",
    text: `${equal} of ${rows} rows are equal to another in all features (${copies} copies)${against}: equal rows are kept in the same part and fold`,
    hint: "check whether rows were copied by mistake, for example by joining files twice",
  });
  return group;
}

const isDiscrete = (column: Column): boolean => {
  if (column.kind === "category") return column.levels.length <= DISCRETE_MAX;
  const seen = new Set<number>();
  for (const value of column.values) {
    seen.add(value);
    if (seen.size > DISCRETE_MAX) return false;
  }
  return true;
};

/**
 * Refines the grouping column by column: rows stay together while their values are equal. Exact,
 * and quick since a row without an equal one drops out.
 */
function groupsOf(data: Rows): { group: Int32Array; groups: number } {
  let together: number[][] = [[...data.label.keys()]];
  const refine = (keys: Int32Array | Float64Array) => {
    together = together.flatMap((rows) => {
      const parted = new Map<number, number[]>();
      for (const row of rows) {
        const key = keys[row]!;
        const same = parted.get(key);
        if (same === undefined) parted.set(key, [row]);
        else same.push(row);
      }
      return [...parted.values()].filter((same) => same.length > 1);
    });
  };
  for (const column of data.features.columns)
    refine(column.kind === "category" ? column.codes : column.values);
  if (data.context !== null) refine(data.context);
  if (data.pipeline !== null) refine(data.pipeline);
  const first = new Int32Array(data.label.length).map((_, row) => row);
  for (const rows of together) for (const row of rows) first[row] = rows[0]!;
  // Numbered in the order of the first row of each.
  const number = new Int32Array(first.length);
  let groups = 0;
  const group = first.map((row, at) => {
    if (row === at) number[at] = groups++;
    return number[row]!;
  });
  return { group, groups };
}

function countContradicting(
  group: Int32Array,
  groups: number,
  label: Int32Array,
  sizes: Int32Array,
): number {
  const first = new Int32Array(groups).fill(-1);
  const mixed = new Uint8Array(groups);
  for (let row = 0; row < group.length; row++) {
    const g = group[row]!;
    if (first[g] === -1) first[g] = label[row]!;
    else if (first[g] !== label[row]) mixed[g] = 1;
  }
  return sizes.reduce((sum, n, g) => sum + (mixed[g] ? n : 0), 0);
}
