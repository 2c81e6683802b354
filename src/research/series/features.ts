/**
 * Features of a price history, known at the close of each row (paper 7.3): moves, volatility,
 * momentum, place in the range, an index of relative strength, time of day and week, volume. Moves
 * are in units of the volatility at the time, so that calm and wild years look alike. Features of a
 * row never change when later rows do; a property test holds them to it.
 */
import type { Column, NumberColumn, Table } from "../table/types.ts";
import type { RawSeries } from "./raw.ts";
import {
  ratio,
  rollingDeviation,
  rollingMax,
  rollingMin,
  rollingScore,
  rollingSum,
} from "./rolling.ts";

/** Rows that most features look back over; half an hour a row: from one row to about two weeks. */
const WINDOWS = [2, 3, 4, 6, 8, 12, 16, 24, 48, 96, 240, 480];
const SINGLE_MOVES = 6;
/** Rows of the volatility that moves are measured in. */
const UNIT_WINDOW = 48;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** One column a feature, all of them whatever the history: a model finds its own again. */
export function seriesFeatures(raw: RawSeries, horizon: number): Table {
  const columns: NumberColumn[] = [];
  const add = (name: string, values: Float64Array) => {
    columns.push({ kind: "number", name, values });
  };
  const { price } = raw;
  const moves = price.map((now, row) => (row === 0 ? 0 : now / price[row - 1]! - 1));
  const windows = [...new Set([...WINDOWS, horizon, 2 * horizon])].sort((a, b) => a - b);
  addMoves(price, moves, windows, add);
  addVolatility(moves, windows, add);
  addPlace(price, moves, windows, add);
  if (raw.clock) addClock(raw.time, add);
  if (raw.volume !== null) addVolume(raw.volume, moves, add);
  for (const { name, values } of raw.more) {
    add(name, values);
    add(`${name}_score_96`, rollingScore(filled(values), 96));
  }
  return { rows: price.length, columns };
}

type Add = (name: string, values: Float64Array) => void;

function addMoves(price: Float64Array, moves: Float64Array, windows: number[], add: Add): void {
  const unit = rollingDeviation(moves, UNIT_WINDOW);
  for (let lag = 0; lag < SINGLE_MOVES; lag++)
    add(
      `move_lag_${lag}`,
      moves.map((_, row) => (row < lag ? Number.NaN : ratio(moves[row - lag]!, unit[row]!))),
    );
  for (const window of windows) {
    const root = Math.sqrt(window);
    add(
      `momentum_${window}`,
      price.map((now, row) =>
        row < window ? Number.NaN : ratio(now / price[row - window]! - 1, unit[row]! * root),
      ),
    );
  }
  add("run", runs(moves));
}

/** Moves of the same direction in a row, with its sign. */
function runs(moves: Float64Array): Float64Array {
  let run = 0;
  return moves.map((move) => {
    if (move > 0) run = run > 0 ? run + 1 : 1;
    else if (move < 0) run = run < 0 ? run - 1 : -1;
    return run;
  });
}

function addVolatility(moves: Float64Array, windows: number[], add: Add): void {
  const long = rollingDeviation(moves, 480);
  for (const window of windows.filter((w) => w >= 8 && w <= 240)) {
    const deviation = rollingDeviation(moves, window);
    add(`volatility_${window}`, deviation);
    add(
      `volatility_ratio_${window}`,
      deviation.map((value, row) => ratio(value, long[row]!)),
    );
  }
}

function addPlace(price: Float64Array, moves: Float64Array, windows: number[], add: Add): void {
  const gains = moves.map((move) => Math.max(0, move));
  const sizes = moves.map((move) => Math.abs(move));
  for (const window of windows.filter((w) => w >= 6)) {
    add(`score_${window}`, rollingScore(price, window));
    const low = rollingMin(price, window);
    const high = rollingMax(price, window);
    if (window >= 24)
      add(
        `place_${window}`,
        price.map((now, row) => ratio(now - low[row]!, high[row]! - low[row]!)),
      );
    const rise = rollingSum(gains, window);
    const whole = rollingSum(sizes, window);
    if (window <= 96)
      add(
        `strength_${window}`,
        rise.map((value, row) => (whole[row]! > 1e-12 ? value / whole[row]! : Number.NaN)),
      );
  }
}

function addClock(time: Float64Array, add: Add): void {
  const within = time.map((ms) => (((ms % DAY_MS) + DAY_MS) % DAY_MS) / HOUR_MS);
  add("hour", within);
  // 1970 began on a Thursday; Monday is 0.
  add(
    "weekday",
    time.map((ms) => (((Math.floor(ms / DAY_MS) + 3) % 7) + 7) % 7),
  );
  add(
    "hours_since_last_row",
    time.map((ms, row) => (row === 0 ? Number.NaN : (ms - time[row - 1]!) / HOUR_MS)),
  );
}

function addVolume(volume: Float64Array, moves: Float64Array, add: Add): void {
  const known = filled(volume);
  for (const window of [20, 100]) add(`volume_score_${window}`, rollingScore(known, window));
  const signed = known.map((value, row) => value * Math.sign(moves[row]!));
  for (const window of [8, 24]) {
    const flow = rollingSum(signed, window);
    const whole = rollingSum(known, window);
    add(
      `volume_flow_${window}`,
      flow.map((value, row) => ratio(value, whole[row]!)),
    );
  }
  add(
    "volume_change",
    known.map((value, row) => (row === 0 ? Number.NaN : ratio(value, known[row - 1]!))),
  );
}

/** Missing values taken from the row before: sums over a window must not end in NaN for ever. */
function filled(values: Float64Array): Float64Array {
  let last = 0;
  return values.map((value) => {
    if (!Number.isNaN(value)) last = value;
    return last;
  });
}

/** Something to learn from: a column that is the same in every row is none. */
export function varies(column: Column): boolean {
  const values = column.kind === "number" ? column.values : column.codes;
  const first = values.findIndex((value) => !Number.isNaN(value));
  return first >= 0 && values.some((value) => !Number.isNaN(value) && value !== values[first]);
}
