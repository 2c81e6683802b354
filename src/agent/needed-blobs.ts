/** What of the blob store and of the opened jobs is still in use, read off the machine. */
import type { Hash } from "../core/types.ts";
import { readMergePlan } from "../diloco/round-contents.ts";
import type { CurrentState } from "./current-state.ts";
import type { JobRegistry } from "./job-registry.ts";
import type { NodeMachine } from "./node.ts";

/** Every blob that a round, a job or an acknowledged merge may still need. */
export function neededBlobs(
  machine: NodeMachine,
  current: CurrentState,
  jobs: JobRegistry,
): Set<Hash> {
  const { contribution, last, collector, running } = machine.round.parts;
  const { pending } = machine.election;
  const plans = [last?.value, pending && readMergePlan(pending)?.value];
  const needed = [
    ...current.states.map(({ state_hash }) => state_hash),
    ...jobs.baseHashes(),
    ...jobs.fileHashes(),
    ...plans.flatMap((plan) => plan?.contributors.map(({ delta_hash }) => delta_hash) ?? []),
    ...collector.revealed.map(({ reveal }) => reveal.delta_hash),
  ];
  if (running) needed.push(running.base_hash);
  if (contribution.deltaHash) needed.push(contribution.deltaHash);
  return new Set(needed);
}

/** True while the job has rounds to come, or its last state is not adopted here. */
export function isInUse({ round, election }: NodeMachine, job_id: Hash): boolean {
  const { jobs, last, promotion } = round.parts;
  if (jobs.get(job_id)) return true;
  return last?.value.job_id === job_id && promotion.adopted !== election.head?.result_hash;
}
