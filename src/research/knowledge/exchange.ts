/**
 * Knowledge as a file that nodes hand to each other: JSON, signed by the node that tells it. What is
 * read is a stranger's word: its size, signature and every field are checked before one insight is
 * taken, and the whole file or nothing is.
 */
import { canonicalJson, sha256 } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import { readSmallText } from "../../core/read-file.ts";
import type { PublicKey } from "../../core/types.ts";
import { lengthPrefixed, walletVerifier } from "../../network/auth.ts";
import type { Signer } from "../../network/signer.ts";
import type { Insight } from "../loop/faces.ts";
import { checkInsight, type KnowledgeBase } from "./knowledge-base.ts";
import { FILE_BYTES_MAX, INSIGHTS_MAX } from "./limits.ts";

export const KNOWLEDGE_SCHEMA = "magnet.research_knowledge/1";

export interface KnowledgeFile {
  readonly schema: typeof KNOWLEDGE_SCHEMA;
  /** The node that tells it. */
  readonly public_key: PublicKey;
  readonly insights: readonly Insight[];
  /** Over the canonical JSON of all the above; 130 hex digits. */
  readonly signature: string;
}

const digestOf = (public_key: string, insights: unknown): Uint8Array =>
  sha256(lengthPrefixed(KNOWLEDGE_SCHEMA, canonicalJson({ public_key, insights })));

function isSigned(public_key: PublicKey, insights: unknown, signature: string): boolean {
  try {
    return walletVerifier.verify(digestOf(public_key, insights), signature, public_key);
  } catch {
    return false; // nested deeper than the stack
  }
}

/** What this machine has learnt itself, signed; with `all`, what others told it too. */
export function exportKnowledge(base: KnowledgeBase, signer: Signer, all = false): KnowledgeFile {
  const insights = base
    .list()
    .filter(({ origin }) => all || origin === "local")
    .map(({ insight }) => insight)
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .slice(0, INSIGHTS_MAX);
  const { public_key } = signer;
  const signature = signer.sign(digestOf(public_key, insights));
  return { schema: KNOWLEDGE_SCHEMA, public_key, insights, signature };
}

const refuse = (why: string, hint = "ask the node for a new export") =>
  new MagnetError("BAD_KNOWLEDGE", `not a knowledge file of magnet: ${why}`, {
    hint,
    exit: "verification",
  });

/** Checks a file's text. `from`: the only node whose word is taken. Throws BAD_KNOWLEDGE. */
export function readKnowledge(text: string, from?: PublicKey): KnowledgeFile {
  if (text.length > FILE_BYTES_MAX) throw refuse("it is too large");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refuse("it is no JSON");
  }
  if (typeof value !== "object" || value === null) throw refuse("it is no object");
  const { schema, public_key, insights, signature, ...rest } = value as Record<string, unknown>;
  if (schema !== KNOWLEDGE_SCHEMA) throw refuse(`its schema is not ${KNOWLEDGE_SCHEMA}`);
  if (Object.keys(rest).length > 0) throw refuse("it has unknown keys");
  if (typeof public_key !== "string" || !/^0[23][0-9a-f]{64}$/.test(public_key))
    throw refuse("it names no key");
  if (typeof signature !== "string" || signature.length !== 130) throw refuse("it is not signed");
  if (!Array.isArray(insights)) throw refuse("it has no insights");
  if (insights.length > INSIGHTS_MAX) throw refuse(`it has more than ${INSIGHTS_MAX} insights`);
  if (from !== undefined && public_key !== from)
    throw refuse(`another node signed it: ${public_key}`, "check --from");
  if (!isSigned(public_key as PublicKey, insights, signature))
    throw refuse("its signature does not fit", "it was changed on the way");
  const checked = insights.map(checkInsight);
  return { schema, public_key: public_key as PublicKey, insights: checked, signature };
}

/** Takes a file into the base. Throws BAD_KNOWLEDGE, BAD_INSIGHT, and why it cannot be read. */
export function importKnowledge(
  base: KnowledgeBase,
  file: string,
  from?: PublicKey,
): { public_key: PublicKey; insights: number; added: number } {
  const { public_key, insights } = readKnowledge(readSmallText(file, FILE_BYTES_MAX), from);
  const added = base.merge(insights, public_key);
  return { public_key, insights: insights.length, added };
}
