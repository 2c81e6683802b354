/** Closes the parts of something that was opened step by step. */

/** Runs what was pushed in reverse order, however many of them fail; throws the first failure. */
export async function closeAll(parts: readonly (() => unknown)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const close of [...parts].reverse())
    try {
      await close();
    } catch (error) {
      failures.push(error);
    }
  if (failures.length > 0) throw failures[0];
}
