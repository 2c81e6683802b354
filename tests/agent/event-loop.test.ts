/**
 * Events one at a time, in order, and nothing at all after an effect that could not be carried out.
 */
import { expect, test } from "bun:test";
import { createEventLoop } from "../../src/agent/event-loop.ts";
import type { NodeEffect, NodeEvent } from "../../src/agent/node-types.ts";
import type { Hash } from "../../src/core/types.ts";

const adopted = (name: string): NodeEvent => ({ type: "adopted", state_hash: name as Hash });
const note = (event: string): NodeEffect => ({ type: "log", level: "info", event, fields: {} });
const clock = { now_ms: () => 5 };
const nameOf = (event: NodeEvent) => (event as { state_hash: string }).state_hash;

test("an event fed by an effect waits until the effects of its cause are done", () => {
  const done: string[] = [];
  const loop = createEventLoop({
    step: (event) => [note(`${nameOf(event)}1`), note(`${nameOf(event)}2`)],
    perform: (effect) => {
      const { event } = effect as { event: string };
      done.push(event);
      if (event === "a1") {
        loop.feed(adopted("b"));
        loop.feed(adopted("c"));
      }
    },
    clock,
    failed: (error) => {
      throw error;
    },
  });
  loop.feed(adopted("a"));
  expect(done).toEqual(["a1", "a2", "b1", "b2", "c1", "c2"]);
});

test("after a failed effect no later effect or event is carried out", () => {
  const done: string[] = [];
  const failures: unknown[] = [];
  const full = Object.assign(new Error("disk"), { code: "ENOSPC" });
  const loop = createEventLoop({
    step: (event) => [note("promise"), note(`send ${nameOf(event)}`)],
    perform: (effect) => {
      const { event } = effect as { event: string };
      if (event === "promise") throw full;
      done.push(event);
    },
    clock,
    failed: (error) => failures.push(error),
  });
  loop.feed(adopted("a"));
  loop.feed(adopted("b"));
  expect(done).toEqual([]);
  expect(failures).toEqual([full]);
});

test("a stopped loop is deaf, also in the middle of a step", () => {
  const done: string[] = [];
  const loop = createEventLoop({
    step: () => [note("one"), note("two")],
    perform: (effect) => {
      done.push((effect as { event: string }).event);
      loop.stop();
    },
    clock,
    failed: (error) => {
      throw error;
    },
  });
  loop.feed(adopted("a"));
  loop.feed(adopted("b"));
  expect(done).toEqual(["one"]);
});
