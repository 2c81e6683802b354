/**
 * Drives the node's state machine: events are taken one at a time in the order they came, and the
 * effects of one step are carried out in order before the next event. Work that takes time is only
 * started by its effect and comes back as an event.
 */
import type { Clock } from "../core/clock.ts";
import { invariant } from "../core/errors.ts";
import type { NodeEffect, NodeEvent } from "./node-types.ts";

/** Far above what one round can queue; reaching it means that events are produced in a loop. */
const QUEUE_MAX = 100_000;

export interface EventLoop {
  feed(event: NodeEvent): void;
}

/** `perform` must not throw for expected failures: it reports them as events. */
export function createEventLoop(
  step: (event: NodeEvent, now_ms: number) => readonly NodeEffect[],
  perform: (effect: NodeEffect) => void,
  clock: Clock,
): EventLoop {
  const queue: NodeEvent[] = [];
  let draining = false;
  return {
    feed(event) {
      invariant(queue.length < QUEUE_MAX, "the node's event queue overflows");
      queue.push(event);
      if (draining) return;
      draining = true;
      try {
        for (let next = queue.shift(); next !== undefined; next = queue.shift())
          for (const effect of step(next, clock.now_ms())) perform(effect);
      } finally {
        draining = false;
      }
    },
  };
}
