/**
 * Limits of the tables that research reads, each with its reason. What is above a limit is refused
 * with TABLE_TOO_LARGE before memory is spent on it.
 */

/** 256 MiB: cells are held as text while their kinds are found, at about 6 times the file. */
export const FILE_BYTES_MAX = 256 * 2 ** 20;
/** All files of one task together. */
export const FILES_MAX = 1000;
export const ROWS_MAX = 5_000_000;
/** Wide tables (gene expression) have some ten thousand columns. */
export const COLUMNS_MAX = 50_000;
/** 50 million cells are 400 MB as numbers. */
export const CELLS_MAX = 50_000_000;
/** 64 KiB: a longer cell is a text or an unclosed quote, and no value of a table. */
export const CELL_LENGTH_MAX = 65_536;
/** Longest name of a column. */
export const NAME_LENGTH_MAX = 1_000;
/** A parquet file of a few kB can claim terabytes; what it unpacks to is checked first. */
export const UNPACKED_BYTES_MAX = 2 ** 30;
/** A Parquet file may take so long: a tenth of what is usual, for machines that have more to do. */
export const PARQUET_SECONDS_MIN = 20;
export const PARQUET_BYTES_PER_S = 2 * 2 ** 20;

/**
 * Levels of a category that learners tell apart: bins are one byte. The most frequent are kept, the
 * others share one level.
 */
export const LEVELS_MAX = 200;
/** Classes; more than this is a number to predict, not a class. */
export const CLASSES_MAX = 100;
/** Levels or distinct numbers up to which a column counts as discrete. */
export const DISCRETE_MAX = 20;
