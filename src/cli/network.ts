/** `magnet network`: makes and checks network files. */
import fs from "node:fs";
import { networkConfigHash, networkFileSchema, readNetworkFile } from "../agent/network-file.ts";
import { MagnetError } from "../core/errors.ts";
import { defineCommand, defineGroup } from "./frame/command.ts";
import { usageError } from "./frame/strict.ts";

const create = defineCommand({
  summary: "Makes a network file: who votes, and the rules that are equal on all nodes",
  details: "Every member gets this file. `magnet keys show` on each machine prints its public key.",
  examples: [
    {
      command: "magnet network create --name lab --member 02ab... --member 03cd... --out net.json",
      does: "a network of two members",
    },
  ],
  args: {},
  flags: {
    name: { type: "string", required: true, summary: "name of the network" },
    member: { type: "list", required: true, value: "KEY", summary: "public key of a member" },
    out: { type: "string", required: true, value: "FILE", summary: "file to write" },
    "data-shards": {
      type: "integer",
      min: 1,
      max: 128,
      default: 4,
      summary: "K of the erasure code",
    },
    "parity-shards": { type: "integer", min: 1, max: 64, default: 2, summary: "M of it" },
  },
  async run({ out }, { flags }) {
    const parsed = networkFileSchema.safeParse({
      schema: "magnet.network/1",
      id: flags.name,
      roster: flags.member,
      storage: { data_shards: flags.data_shards, parity_shards: flags.parity_shards },
    });
    if (!parsed.success) {
      const issue = parsed.error.issues[0]!;
      throw usageError(
        "NETWORK_INVALID",
        `${issue.path.join(".")}: ${issue.message}`,
        "magnet network create --help",
      );
    }
    if (new Set(flags.member).size !== flags.member.length)
      throw usageError("NETWORK_INVALID", "a member is named twice", "name each key once");
    if (fs.existsSync(flags.out))
      throw new MagnetError("FILE_EXISTS", `${flags.out} exists already`, {
        hint: "choose another name: a changed network file is another network",
      });
    fs.writeFileSync(flags.out, `${JSON.stringify(parsed.data, null, 2)}\n`);
    const config_hash = networkConfigHash(parsed.data);
    const data = { file: flags.out, id: parsed.data.id, config_hash, members: flags.member.length };
    out.result("network_create", data, `${flags.out}\nconfiguration ${config_hash}`);
    return undefined;
  },
});

const show = defineCommand({
  summary: "Checks a network file and shows its rules",
  examples: [{ command: "magnet network show net.json", does: "members, timing, hash" }],
  args: { file: { value: "FILE", summary: "network file" } },
  flags: {},
  async run({ out }, { args }) {
    const { schema: _schema, ...network } = readNetworkFile(args.file);
    const data = { config_hash: networkConfigHash(readNetworkFile(args.file)), ...network };
    out.result("network_show", data, JSON.stringify(data, null, 2));
    return undefined;
  },
});

export const network = defineGroup("network files: create, show", { create, show });
