/** The error of a promise, for tests. */
import { MagnetError } from "../../src/core/errors.ts";

/** Not `expect().rejects`, which blocks the event loop that workers answer on. */
export async function errorOf(promise: Promise<unknown>): Promise<MagnetError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof MagnetError) return error;
    throw error;
  }
  throw new Error("no error");
}
