/**
 * What the ledger's notaries ask of audits of training: this node's own outcomes of one author, and
 * a second look at a contribution that somebody's evidence names.
 */
import { z } from "zod";
import type { PublicKey } from "../../core/types.ts";
import type { Verifier } from "../../network/signer.ts";
import type { TrainingAudit, TrainingBook } from "./book.ts";
import { verdictHolds } from "./claims.ts";
import { type Verdict, verdictSchema } from "./messages.ts";

/** Of one author. */
export interface TrainingEvidence {
  /** Audits of this node that passed or failed, the newest last. */
  audits: Pick<TrainingAudit, "round" | "author" | "state" | "reason" | "at_ms">[];
  /** A contribution that this node and another found wrong. */
  verdict: Verdict | null;
}

/** As others send it: of the audits nothing is believed, so they are not read. */
const evidenceSchema = z.object({
  schema: z.literal("magnet.training_evidence/1"),
  verdict: verdictSchema.nullable(),
});
/** Of 32 audits and a verdict. */
const EVIDENCE_BYTES_MAX = 64 << 10;

const isOutcome = ({ state }: TrainingAudit) => ["passed", "wrong", "not_served"].includes(state);

export interface TrainingFacts {
  evidence(isOf: (author: PublicKey) => boolean, audits_max: number): TrainingEvidence;
  /**
   * What this node's own audit says of the contribution that the evidence names, which it does now
   * if it has not yet; null where that is none of `isOf`, not known here or cannot be done here.
   */
  reexamine(
    evidence: Uint8Array,
    isOf: (author: PublicKey) => boolean,
  ): "working" | "wrong" | "passed" | null;
}

export interface TrainingFactsContext {
  self: PublicKey;
  verifier: Verifier;
  book: TrainingBook;
  now_ms(): number;
  /** An audit was made due. */
  wake(): void;
}

function readEvidence(bytes: Uint8Array): Verdict | null {
  if (bytes.length > EVIDENCE_BYTES_MAX) return null;
  try {
    const parsed = evidenceSchema.safeParse(JSON.parse(new TextDecoder().decode(bytes)));
    return parsed.success ? parsed.data.verdict : null;
  } catch {
    return null;
  }
}

export function trainingFacts(context: TrainingFactsContext): TrainingFacts {
  const { self, verifier, book, now_ms, wake } = context;
  return {
    evidence(isOf, audits_max) {
      const audits = book
        .done()
        .filter((audit) => isOutcome(audit) && isOf(audit.author))
        .slice(-audits_max)
        .map(({ round, author, state, reason, at_ms }) => ({
          round,
          author,
          state,
          reason,
          at_ms,
        }));
      const own = book
        .verdicts()
        .filter(({ author, round }) => isOf(author) && book.audit(round, author)?.state === "wrong")
        .findLast(({ verdict }) => verdict?.claim.claimer === self || verdict?.second === self);
      return { audits, verdict: own?.verdict ?? null };
    },
    reexamine(evidence, isOf) {
      const verdict = readEvidence(evidence);
      if (!verdict || !isOf(verdict.claim.author)) return null;
      const { round, author, claimer } = verdict.claim;
      const noted = book.case(round, author);
      if (!noted || !verdictHolds(verifier, noted.value, verdict)) return null;
      if (book.addDue(round, author, claimer, now_ms())) wake();
      const state = book.audit(round, author)?.state;
      if (state === "due") return "working";
      return state === "wrong" || state === "passed" ? state : null;
    },
  };
}
