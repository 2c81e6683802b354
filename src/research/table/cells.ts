/**
 * Cells as they come from a file, gathered by column, before the kinds of the columns are known.
 * The readers of all formats fill one of these; several files fill the same one and must have the
 * same columns.
 */
import { didYouMean } from "../../core/did-you-mean.ts";
import { MagnetError } from "../../core/errors.ts";
import { CELL_LENGTH_MAX, CELLS_MAX, COLUMNS_MAX, NAME_LENGTH_MAX, ROWS_MAX } from "./limits.ts";

/** Text (of CSV, not yet interpreted), or a value that the format itself knows the kind of. */
export type Cell = string | number | boolean | Date | null;

export const tableError = (message: string, hint: string, code = "BAD_TABLE", cause?: unknown) =>
  new MagnetError(code, message, { hint, ...(cause === undefined ? {} : { cause }) });

export class CellTable {
  readonly names: string[] = [];
  readonly columns: Cell[][] = [];
  #index = new Map<string, number>();
  /** Name of the file that gave the columns; empty before the first. */
  #from = "";
  rows = 0;

  /** Sets the columns (first file) or checks that they are the same, in any order. */
  setColumns(file: string, names: readonly string[]): number[] {
    checkNames(file, names);
    if (this.#from === "") {
      this.#from = file;
      for (const name of names) this.#add(name);
    }
    for (const name of names)
      if (!this.#index.has(name))
        throw tableError(
          `${file} has a column "${name}" that ${this.#from} has not`,
          didYouMean(name, this.names, "all files of a task need the same columns"),
        );
    if (names.length < this.names.length) {
      const missing = this.names.find((name) => !names.includes(name))!;
      throw tableError(
        `${file} has no column "${missing}", which ${this.#from} has`,
        didYouMean(missing, names, "all files of a task need the same columns"),
      );
    }
    return names.map((name) => this.#index.get(name)!);
  }

  /** Column of a name; new ones are missing in all rows so far (JSONL has no header). */
  columnOf(file: string, name: string): number {
    const known = this.#index.get(name);
    if (known !== undefined) return known;
    checkNames(file, [name]);
    if (this.names.length >= COLUMNS_MAX) throw tooLarge(file, `${COLUMNS_MAX} columns`);
    if (this.#from === "") this.#from = file;
    return this.#add(name);
  }

  #add(name: string): number {
    const at = this.names.length;
    this.names.push(name);
    this.columns.push(new Array<Cell>(this.rows).fill(null));
    this.#index.set(name, at);
    return at;
  }

  /** Starts a row whose cells are then pushed or set; checks the limits. */
  startRow(file: string): void {
    this.rows++;
    if (this.rows > ROWS_MAX) throw tooLarge(file, `${ROWS_MAX} rows`);
    if (this.rows * this.names.length > CELLS_MAX) throw tooLarge(file, `${CELLS_MAX} cells`);
  }
}

export function checkCell(file: string, line: number, name: string, text: string): void {
  if (text.length > CELL_LENGTH_MAX)
    throw tableError(
      `${file}:${line}: column "${name}" has ${text.length} characters in one cell`,
      `at most ${CELL_LENGTH_MAX} are read; a quote may be left open, or leave the column out`,
    );
}

export const tooLarge = (file: string, limit: string) =>
  tableError(
    `${file}: more than ${limit}`,
    "give a sample of the rows, or fewer columns",
    "TABLE_TOO_LARGE",
  );

function checkNames(file: string, names: readonly string[]): void {
  if (names.length > COLUMNS_MAX) throw tooLarge(file, `${COLUMNS_MAX} columns`);
  const seen = new Set<string>();
  for (const name of names) {
    if (name.length > NAME_LENGTH_MAX || /\p{Cc}/u.test(name))
      throw tableError(
        `${file} has a column name that is no name: ${JSON.stringify(name.slice(0, 40))}...`,
        "the first line must hold the names of the columns",
      );
    if (seen.has(name))
      throw tableError(
        `${file} has two columns called "${name}"`,
        "rename or remove one of them in the file",
      );
    seen.add(name);
  }
}
