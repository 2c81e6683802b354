/**
 * The one schema of this machine's configuration; file, environment, flags, `config show` and
 * `config get` all read it from here. What must be equal on all nodes of a network is not in it:
 * see the network file.
 */
import { z } from "zod";
import { parseSize } from "./bytes.ts";
import { TIER_ALIASES, TIERS } from "./tiers.ts";

interface SettingMeta {
  description: string;
}
const settings = z.registry<SettingMeta>();

/** Describes a setting; must be the outermost call, since every zod method returns a new schema. */
function setting<S extends z.ZodType>(description: string, schema: S): S {
  settings.add(schema, { description });
  return schema;
}

/** Longest text of one setting; nothing legitimate comes near it. */
const TEXT_MAX = 4096;
const text = z
  .string()
  .max(TEXT_MAX)
  .refine((value) => !/\p{Cc}/u.test(value), "holds control characters");
/** HOST:PORT; an IPv6 host stands in brackets; port 0 takes any free one. */
const hostPort = text.refine((value) => {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^\s:[\]]+):(\d{1,5})$/.exec(value);
  return match !== null && Number(match[2]) <= 65535;
}, 'must be HOST:PORT, for example "0.0.0.0:7700" or "[::]:7700"');
const peerUrl = text.refine(
  (value) => /^wss:\/\/\S+$/.test(value) && URL.canParse(value),
  "must be a wss:// address",
);
const size = z.union([z.int().nonnegative(), text]).transform((value, context) => {
  const bytes = typeof value === "number" ? value : parseSize(value);
  if (bytes !== undefined) return bytes;
  context.addIssue({ code: "custom", message: 'must be a size, for example "20GiB"' });
  return z.NEVER;
});

/** As the network file demands of its id. */
const NETWORK_NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;

const TIER_SETTINGS = ["auto", ...TIERS] as const;
const tier = z
  .preprocess((value) => TIER_ALIASES[String(value)] ?? value, z.enum(TIER_SETTINGS))
  .default("auto");

const node = z.strictObject({
  data_dir: setting("folder of this node's key, checkpoints and shards", text.default("")),
  listen: setting("address that peers connect to", hostPort.default("0.0.0.0:7700")),
  advertise: setting(
    "address that other nodes are told, if not the listening one",
    text.default(""),
  ),
  tier: setting("kind of contribution", tier),
  device: setting(
    "where a node of the tier auto or gpu_compute trains: auto, cpu, cuda or cuda:N",
    text.regex(/^(auto|cpu|cuda(:\d{1,4})?)$/, "must be auto, cpu, cuda or cuda:N").default("auto"),
  ),
  max_disk: setting("disk space that magnet may use", size.default(20 * 2 ** 30)),
});

const network = z.strictObject({
  name: setting(
    "name of the network that this node starts where it is given no file",
    text
      .regex(NETWORK_NAME, "must be lower-case letters, digits and dashes, at most 63")
      .default("local"),
  ),
  file: setting("network file to join by (made with network create)", text.default("")),
  peers: setting("addresses of first peers", z.array(peerUrl).max(1024).default([])),
});

const training = z.strictObject({
  threads: setting("threads of one training step; 0 means all", z.int().min(0).max(64).default(0)),
  checkpoint_every: setting("steps between checkpoints", z.int().min(1).max(1e9).default(100)),
});

const serve = z.strictObject({
  host: setting("address that the model server listens on", text.default("127.0.0.1")),
  port: setting(
    "port of the model server; 0 takes any free one",
    z.int().min(0).max(65535).default(8080),
  ),
  api_key_file: setting("file with the API keys of the model server, one a line", text.default("")),
  cors_origins: setting(
    "origins of pages that may use the model server",
    z.array(text).max(1024).default([]),
  ),
});

const chain = z.strictObject({
  rpc: setting(
    "RPC of the chain that holds the network's ledger, for example http://127.0.0.1:8545",
    text
      .refine(
        (value) => value === "" || /^https?:\/\/[^\s/]+/.test(value),
        "must be an http:// or https:// address",
      )
      .default(""),
  ),
});

const research = z.strictObject({
  workers: setting(
    "trials of research that this node runs for other members at once; 0: none",
    z.int().min(0).max(256).default(0),
  ),
  trial_cpu: setting(
    "CPU seconds that one trial of another member may use here",
    z.number().positive().max(1e6).default(600),
  ),
});

/** An amount of MAG as `parseMag` reads it. */
const mag = text.refine(
  (value) => /^\d{1,18}(\.\d{1,18})?$/.test(value),
  "must be an amount of MAG, for example 0.05",
);

const pay = z.strictObject({
  token: setting(
    "token that answers are paid with, CHAIN_ID:ADDRESS; of the network file where empty",
    text
      .refine(
        (value) => value === "" || /^\d{1,15}:0x[0-9a-fA-F]{40}$/.test(value),
        "must be CHAIN_ID:ADDRESS",
      )
      .default(""),
  ),
  max_per_request: setting("MAG that one answer may cost", mag.default("0.01")),
  max_per_session: setting("MAG that one run of a command may spend", mag.default("0.1")),
  max_per_day: setting("MAG that this machine may spend on a day (UTC)", mag.default("1")),
});

const log = z.strictObject({
  level: setting(
    "least severe level that is logged",
    z.enum(["debug", "info", "warn", "error"]).default("info"),
  ),
  format: setting(
    "auto: text on a terminal, else JSON lines",
    z.enum(["auto", "text", "json"]).default("auto"),
  ),
});

const sections = { node, network, training, serve, chain, research, pay, log };
type Sections = typeof sections;
export type SectionName = keyof Sections;
/** All settings by section, checked, with defaults filled in. */
export type ConfigValues = { [S in SectionName]: z.output<Sections[S]> };

/** A setting by its dotted name, for example "node.listen". */
export interface Setting {
  key: string;
  section: SectionName;
  name: string;
  /** MAGNET_NODE_LISTEN. */
  env: string;
  description: string;
  schema: z.ZodType;
}

/** Every setting, in the order of the schema. */
export const SETTINGS: readonly Setting[] = Object.entries(sections).flatMap(([section, object]) =>
  Object.entries(object.shape).map(([name, schema]) => {
    const meta = settings.get(schema as z.ZodType)!;
    return {
      key: `${section}.${name}`,
      section: section as SectionName,
      name,
      env: `MAGNET_${section}_${name}`.toUpperCase(),
      ...meta,
      schema: schema as z.ZodType,
    };
  }),
);
export const SETTINGS_BY_KEY: ReadonlyMap<string, Setting> = new Map(
  SETTINGS.map((entry) => [entry.key, entry]),
);
export const SECTION_NAMES = Object.keys(sections) as SectionName[];

/** Variables that are no settings: they act before or below the configuration, or are secret. */
export const OTHER_VARIABLES = [
  "MAGNET_CPU",
  "MAGNET_NO_MEMFD",
  "MAGNET_CUDA_LIBRARY",
  "MAGNET_GEMM",
  // Of the GPU's library as tests run it.
  "MAGNET_EMULATION_DEVICES",
  "MAGNET_EMULATION_MEMORY",
  "MAGNET_EMULATION_ORDER",
  "MAGNET_CONFIG",
  "MAGNET_PASSPHRASE",
  "MAGNET_API_KEYS",
  "MAGNET_API_KEY",
] as const;
