/**
 * `magnet keys`: the node's wallet key. A private key is never taken from or shown on a command
 * line.
 */

import { keyStorageOf } from "../agent/key-place.ts";
import { MagnetError } from "../core/errors.ts";
import { systemRandom } from "../core/random.ts";
import { readSmallText } from "../core/read-file.ts";
import { nodeIdOf, signMessage, verifyMessage } from "../network/identity.ts";
import {
  createIdentity,
  exportKey,
  importKey,
  keyFile,
  loadIdentity,
  wasExported,
} from "../network/key-storage.ts";
import { readPrivateFile, writePrivateFile } from "../network/private-file.ts";
import { type Context, defineCommand, defineGroup } from "./frame/command.ts";
import { usageError } from "./frame/strict.ts";
import { readStdin } from "./stdin.ts";

const storageOf = async (context: Context) =>
  keyStorageOf((await context.config()).values, process.env);
const BACKUP = "back it up: magnet keys export --out FILE, and keep the file elsewhere";

const create = defineCommand({
  summary: "Creates this node's wallet key",
  details:
    "The key is an encrypted keystore; set MAGNET_PASSPHRASE to choose its passphrase, otherwise a\nrandom one is kept in a file beside it. An existing key is never overwritten.",
  examples: [{ command: "magnet keys create", does: "once for each node" }],
  args: {},
  flags: {},
  async run(context) {
    const storage = await storageOf(context);
    const { node_id, public_key } = createIdentity(storage, systemRandom);
    const file = keyFile(storage);
    context.out.result("keys_create", { node_id, public_key, file }, `${node_id}\n${file}`);
    context.out.note(BACKUP);
  },
});

const show = defineCommand({
  summary: "Shows the public half of the key",
  examples: [{ command: "magnet keys show --json", does: "for scripts" }],
  args: {},
  flags: {},
  async run(context) {
    const storage = await storageOf(context);
    const { node_id, public_key } = loadIdentity(storage);
    const file = keyFile(storage);
    const exported = wasExported(storage);
    const text = `node id     ${node_id}\npublic key  ${public_key}\nfile        ${file}\nbacked up   ${exported ? "yes" : "no"}`;
    context.out.result("keys_show", { node_id, public_key, file, exported }, text);
    if (!exported) context.out.note(BACKUP);
  },
});

const exportCommand = defineCommand({
  summary: "Writes the private key to a backup file",
  details:
    "Whoever has this file is this node. It is created with mode 0600 and holds 64 hex digits.",
  examples: [{ command: "magnet keys export --out /media/usb/node.key", does: "make a backup" }],
  args: {},
  flags: { out: { type: "string", value: "FILE", required: true, summary: "must not exist yet" } },
  async run(context, { flags }) {
    const storage = await storageOf(context);
    const { node_id } = loadIdentity(storage);
    // The file first: a note of an export that never arrived would silence the doctor.
    await requireAbsent(flags.out);
    writePrivateFile(flags.out, `${exportKey(storage)}\n`);
    context.out.result("keys_export", { node_id, file: flags.out }, `${node_id} -> ${flags.out}`);
  },
});

async function requireAbsent(file: string): Promise<void> {
  if (!(await Bun.file(file).exists())) return;
  throw new MagnetError("FILE_EXISTS", `${file} exists already`, {
    hint: "choose another name; a key file is never overwritten",
    exit: "auth",
  });
}

/** A raw key is 64 digits and perhaps a line end. */
const KEY_BYTES_MAX = 4096;

const importCommand = defineCommand({
  summary: "Takes over a private key from a backup file",
  examples: [{ command: "magnet keys import /media/usb/node.key", does: "restore a node" }],
  args: { file: { value: "FILE", summary: "64 hex digits, mode 0600; - reads standard input" } },
  flags: {},
  async run(context, { args }) {
    const storage = await storageOf(context);
    const piped = args.file === "-" ? await readStdin(KEY_BYTES_MAX, "give 64 hex digits") : null;
    const text = piped ? new TextDecoder().decode(piped) : readPrivateFile(args.file);
    if (text === undefined)
      throw new MagnetError("NOT_FOUND", `${args.file}: no such file`, { hint: "check the path" });
    const { node_id, public_key } = importKey(storage, text, systemRandom);
    const file = keyFile(storage);
    context.out.result("keys_import", { node_id, public_key, file }, `${node_id}\n${file}`);
  },
});

/** What one signature covers as text; larger things are signed by their hash. */
const MESSAGE_BYTES_MAX = 64 * 2 ** 20;

/** The text given, or a file's content. */
async function messageOf(text: string | undefined, file: string | undefined): Promise<string> {
  if ((text === undefined) === (file === undefined))
    throw usageError("ONE_INPUT", "give either TEXT or --file", 'for example: keys sign "hello"');
  return text ?? readSmallText(file!, MESSAGE_BYTES_MAX);
}
const messageArgument = {
  value: "TEXT",
  summary: "the text; otherwise --file",
  optional: true,
} as const;
const fileFlag = { type: "string", value: "PATH", summary: "take the text from a file" } as const;

const sign = defineCommand({
  summary: "Signs a text of yours with the node's key",
  details: "What is signed can never pass for a message of the protocol.",
  examples: [{ command: 'magnet keys sign "I run node-ab12"', does: "prints the signature" }],
  args: { text: messageArgument },
  flags: { file: fileFlag },
  async run(context, { args, flags }) {
    const message = await messageOf(args.text, flags.file);
    const identity = loadIdentity(await storageOf(context));
    const signature = signMessage(identity, message);
    const { node_id, public_key } = identity;
    context.out.result("keys_sign", { node_id, public_key, signature }, signature);
  },
});

const verify = defineCommand({
  summary: "Checks who signed a text; exit 6 where it is not the expected key",
  examples: [
    { command: 'magnet keys verify "hello" --signature HEX', does: "shows who signed" },
    {
      command: 'magnet keys verify "hello" --signature HEX --key HEX',
      does: "exit 6 unless it was this key",
    },
  ],
  args: { text: messageArgument },
  flags: {
    file: fileFlag,
    signature: { type: "string", value: "HEX", required: true, summary: "130 hex digits" },
    key: { type: "string", value: "HEX", summary: "public key that must have signed" },
  },
  async run({ out }, { args, flags }) {
    const message = await messageOf(args.text, flags.file);
    const public_key = verifyMessage(message, flags.signature);
    if (public_key === undefined || (flags.key !== undefined && flags.key !== public_key))
      throw new MagnetError(
        "BAD_SIGNATURE",
        public_key === undefined
          ? "this is no signature of this text"
          : `signed by ${public_key}, not by ${flags.key}`,
        {
          hint: "text, signature and key must be exactly those of the signer",
          exit: "verification",
        },
      );
    const node_id = nodeIdOf(public_key);
    const text = `signed by ${node_id} (${public_key})`;
    out.result("keys_verify", { ok: true, node_id, public_key }, text);
  },
});

export const keys = defineGroup("Manages this node's wallet key", {
  create,
  show,
  export: exportCommand,
  import: importCommand,
  sign,
  verify,
});
