/**
 * The one schema of the configuration. Every setting says whether it is `network` (equal on all nodes,
 * part of the network's hash) or `local`, and what it means; file, environment, flags, `config show` and
 * `config get` all read it from here.
 */
import { z } from "zod";
import { parseSize } from "./bytes.ts";
import { TIERS } from "./tiers.ts";

export type SettingScope = "local" | "network";
interface SettingMeta {
  scope: SettingScope;
  description: string;
}
const settings = z.registry<SettingMeta>();

/** Marks a setting; must be the outermost call, since every zod method returns a new schema. */
function setting<S extends z.ZodType>(scope: SettingScope, description: string, schema: S): S {
  settings.add(schema, { scope, description });
  return schema;
}
const local = <S extends z.ZodType>(text: string, schema: S) => setting("local", text, schema);
const shared = <S extends z.ZodType>(text: string, schema: S) => setting("network", text, schema);

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

const TIER_SETTINGS = ["auto", ...TIERS] as const;
export type TierSetting = (typeof TIER_SETTINGS)[number];
/** Short words accepted for a tier; output prints the full names. */
export const TIER_ALIASES: Record<string, TierSetting> = {
  claude: "claude_session",
  gpu: "gpu_compute",
  storage: "storage_node",
  cpu: "cpu_only",
  mobile: "mobile_light",
};
const tier = z
  .preprocess((value) => TIER_ALIASES[String(value)] ?? value, z.enum(TIER_SETTINGS))
  .default("auto");

const node = z.strictObject({
  data_dir: local("folder of this node's key, checkpoints and shards", text.default("")),
  listen: local("address that peers connect to", hostPort.default("0.0.0.0:7700")),
  api_listen: local("address of the dashboard and the APIs", hostPort.default("127.0.0.1:7710")),
  advertise: local("address that other nodes are told, if not the listening one", text.default("")),
  tier: local("kind of contribution", tier),
  domain: local("domain this node is an expert of", text.default("general")),
  max_cpu: local("threads that magnet may use; 0 means all", z.int().min(0).max(4096).default(0)),
  max_disk: local("disk space that magnet may use", size.default(20 * 2 ** 30)),
});

const network = z.strictObject({
  name: shared("name of the network, part of its id", text.min(1).max(64).default("local")),
  file: local("network file to join by (made with network create)", text.default("")),
  peers: local("addresses of first peers", z.array(peerUrl).max(1024).default([])),
  relay: local("reach others through a relay", z.boolean().default(false)),
  fault_model: shared(
    "crash: floor(N/2)+1 acknowledgements; byzantine: more than 2N/3",
    z.enum(["crash", "byzantine"]).default("crash"),
  ),
});

const p2p = z.strictObject({
  cert: local("PEM certificate of a private authority, instead of an own one", text.default("")),
  key: local("PEM private key of that certificate", text.default("")),
  ca: local("PEM certificates of the authority", text.default("")),
});

const round = z.strictObject({
  inner_steps: shared("inner steps of a round (H)", z.int().min(1).max(100_000).default(500)),
  nodes_min: shared("nodes that a merge needs", z.int().min(1).max(10_000).default(1)),
  deadline_ms: shared(
    "time from announcement to merge",
    z.int().min(1000).max(86_400_000).default(3_600_000),
  ),
  outer_lr: shared("outer learning rate", z.number().gt(0).max(10).default(0.7)),
  outer_momentum: shared("outer Nesterov momentum", z.number().min(0).lt(1).default(0.9)),
  clip_norm: shared("largest norm of a pseudo-gradient", z.number().gt(0).default(1)),
});

const storage = z.strictObject({
  data_shards: shared("data shards of a stripe", z.int().min(1).max(64).default(4)),
  parity_shards: shared("parity shards of a stripe", z.int().min(0).max(32).default(2)),
});

const training = z.strictObject({
  threads: local("threads of one training step; 0 means all", z.int().min(0).max(4096).default(0)),
  device: local("where training runs", z.enum(["auto", "cpu", "cuda"]).default("auto")),
  checkpoint_every: local("steps between checkpoints", z.int().min(1).max(1e9).default(100)),
});

const log = z.strictObject({
  level: local(
    "least severe level that is logged",
    z.enum(["debug", "info", "warn", "error"]).default("info"),
  ),
  format: local(
    "auto: text on a terminal, else JSON lines",
    z.enum(["auto", "text", "json"]).default("auto"),
  ),
});

const sections = { node, network, p2p, round, storage, training, log };
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
  scope: SettingScope;
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
  "MAGNET_CONFIG",
  "MAGNET_PASSPHRASE",
] as const;
