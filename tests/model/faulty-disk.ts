/** A disk that fails on purpose: at the n-th operation, once or (like a crash) from then on. */
import { type FileSystem, hostFileSystem } from "../../src/model/file-system.ts";

export interface FaultyDisk {
  disk: FileSystem;
  /** Operations started so far. */
  operations(): number;
}

export class Crash extends Error {}

/**
 * `at`: index of the operation that fails (Infinity: none). "crash" fails it and all that follow,
 * as if the process had gone; a system code fails it once. Half of a failed write reaches the disk.
 */
export function faultyDisk(at: number, kind: "crash" | "ENOSPC" | "EACCES"): FaultyDisk {
  let count = 0;
  const failure = () =>
    kind === "crash" ? new Crash("crash") : Object.assign(new Error(kind), { code: kind });
  const fails = () => {
    const index = count++;
    return kind === "crash" ? index >= at : index === at;
  };
  const guard = <A extends unknown[], R>(run: (...args: A) => Promise<R>) => {
    return async (...args: A): Promise<R> => {
      if (fails()) throw failure();
      return await run(...args);
    };
  };
  const host = hostFileSystem;
  return {
    operations: () => count,
    disk: {
      create: guard(async (path) => {
        const file = await host.create(path);
        return {
          async write(bytes) {
            if (fails()) {
              await file.write(bytes.subarray(0, bytes.length >> 1));
              throw failure();
            }
            await file.write(bytes);
          },
          overwrite: guard(file.overwrite),
          sync: guard(() => file.sync()),
          close: () => file.close(),
        };
      }),
      makeFolder: guard(host.makeFolder),
      syncFolder: guard(host.syncFolder),
      rename: guard(host.rename),
      remove: guard(host.remove),
      exists: host.exists,
      list: host.list,
    },
  };
}
