/**
 * Where the node's wallet key lies: in the data folder, opened by MAGNET_PASSPHRASE where one is
 * set.
 */
import type { ConfigValues } from "../core/config-schema.ts";
import type { KeyStorage } from "../network/key-storage.ts";

/** The key storage of the settings in force; `env` is the process's environment. */
export const keyStorageOf = (
  values: ConfigValues,
  env: Record<string, string | undefined>,
): KeyStorage => ({ dir: values.node.data_dir, passphrase: env.MAGNET_PASSPHRASE });
