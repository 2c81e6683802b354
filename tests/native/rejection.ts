/**
 * The error a promise rejects with. `expect(promise).rejects` is not used for native calls: it
 * waits inside the event loop's own turn, and an answer from a worker thread may then never be
 * delivered.
 */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("the promise was expected to reject, but it was fulfilled");
}
