/**
 * Drives the node's state machine: events are taken one at a time in the order they came, and the
 * effects of one step are carried out in order before the next event. Work that takes time is only
 * started by its effect and comes back as an event. Invariant: after an effect that could not be
 * carried out (a promise that is not on the disk) no further one is, and the node ends.
 */
import type { Clock } from "../core/clock.ts";
import { invariant } from "../core/errors.ts";
import type { NodeEffect, NodeEvent } from "./node-types.ts";

/** Far above what one round can queue; reaching it means that events are produced in a loop. */
const QUEUE_MAX = 100_000;

export interface EventLoop {
  feed(event: NodeEvent): void;
  /** From now on events are ignored. */
  stop(): void;
}

export interface EventLoopOptions {
  step(event: NodeEvent, now_ms: number): readonly NodeEffect[];
  /** Reports expected failures as events; what it throws ends the loop. */
  perform(effect: NodeEffect): void;
  clock: Clock;
  /** Called once, with what `step` or `perform` threw; the loop has stopped. */
  failed(error: unknown): void;
}

export function createEventLoop({ step, perform, clock, failed }: EventLoopOptions): EventLoop {
  const queue: NodeEvent[] = [];
  let draining = false;
  let stopped = false;

  const takeOne = (event: NodeEvent): void => {
    for (const effect of step(event, clock.now_ms())) {
      if (stopped) return;
      perform(effect);
    }
  };
  return {
    feed(event) {
      if (stopped) return;
      queue.push(event);
      if (draining) return;
      draining = true;
      try {
        for (let next = queue.shift(); next !== undefined && !stopped; next = queue.shift()) {
          invariant(queue.length < QUEUE_MAX, "the node's event queue overflows");
          takeOne(next);
        }
      } catch (error) {
        stopped = true;
        failed(error);
      } finally {
        draining = false;
      }
    },
    stop() {
      stopped = true;
      queue.length = 0;
    },
  };
}
