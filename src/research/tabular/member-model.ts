/**
 * A fitted learner of a member, native or not: what evaluation, the final model and prediction use
 * of it. Saved ones are told apart by their first bytes.
 */
import type { FittedModel, Learners } from "../../native/learner-types.ts";
import { isTernaryModel, loadTernary } from "./ternary/model.ts";

export type MemberModel = Pick<FittedModel, "predict" | "importance" | "save" | "free">;

/** Throws BAD_MODEL on anything that `save` did not write: bytes may come from a peer. */
export const loadMemberModel = (bytes: Uint8Array, learners: Learners): MemberModel =>
  isTernaryModel(bytes) ? loadTernary(bytes) : learners.loadLearner(bytes);
