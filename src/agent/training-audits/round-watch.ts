/**
 * Looks at the rounds as they go by: announcement and collection are gone from the machine once
 * their round is promoted, and the audits that are drawn then need both.
 */
import type { Hash } from "../../core/types.ts";
import type { Content } from "../../diloco/round-contents.ts";
import type { Announcement, Collection, JobOffer } from "../../diloco/round-messages.ts";
import { readJobOffer } from "../job-registry.ts";
import type { NodeMachine } from "../node.ts";
import type { CertifiedContents } from "./audit-case.ts";

/** Rounds under way that are remembered: a slow node promotes one while the next is announced. */
const OPEN_MAX = 8;

interface OpenRound {
  announced: Content<Announcement>;
  collected: Content<Collection> | null;
  offer: JobOffer;
}

export class RoundWatch {
  readonly #machine: NodeMachine;
  /** By hash of the announcement. */
  readonly #open = new Map<Hash, OpenRound>();

  constructor(machine: NodeMachine) {
    this.#machine = machine;
  }

  /** After every step of the machine. */
  observe(): void {
    const { announced, collected, jobs } = this.#machine.round.parts;
    if (!announced) return;
    const known = this.#open.get(announced.hash);
    if (known) {
      known.collected ??= collected;
      return;
    }
    const offer = jobs.get(announced.value.job_id)?.offer;
    if (!offer) return; // the job is not here yet
    this.#open.set(announced.hash, { announced, collected, offer });
    if (this.#open.size > OPEN_MAX) this.#open.delete([...this.#open.keys()][0]!);
  }

  /** The last promoted round, where it was seen from its announcement on. Throws JOB_INVALID. */
  promoted(): CertifiedContents | null {
    const plan = this.#machine.round.parts.last;
    const open = plan && this.#open.get(plan.value.announce_hash);
    if (!open || open.collected?.hash !== plan.value.collect_hash) return null;
    const { announced, collected, offer } = open;
    return { announced, collected, plan, job: readJobOffer(offer) };
  }
}
