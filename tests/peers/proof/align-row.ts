import type { ProofContext, Usage } from "./context.ts";
export interface AlignSide {
  win_rate: number;
  win_rate_error: number;
  language_loss: number;
}
export interface AlignResult {
  before: AlignSide;
  after: AlignSide;
  pairs_train: number;
  pairs_heldout: number;
  language_loss_change: number;
  usage: Usage;
}
export async function runAlignRow(_context: ProofContext): Promise<AlignResult> {
  throw new Error("not there yet");
}
