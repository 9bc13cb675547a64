import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { createSchedule, SCHEDULE_NAMES } from "../../src/training/schedule.ts";

const { schedules } = JSON.parse(await readFile(new URL("../fixtures/adamw.json", import.meta.url), "utf8"));

describe("createSchedule()", () => {
  it.each(Object.keys(schedules))("%s is that of transformers where there is no warm-up", async (name) => {
    const schedule = await createSchedule(name, { steps: 20, warmup: 0 });
    for (const [step, factor] of schedules[name].entries()) expect(schedule(step)).toBeCloseTo(factor, 12);
  });

  it.each(SCHEDULE_NAMES)("%s rises in a line over the warm-up, to 1, never from 0", async (name) => {
    const schedule = await createSchedule(name, { steps: 20, warmup: 4 });
    expect([0, 1, 2, 3, 4].map(schedule)).toEqual([0.2, 0.4, 0.6, 0.8, 1]);
  });

  it.each(SCHEDULE_NAMES)("%s is finite and not negative where everything is warm-up", async (name) => {
    const schedule = await createSchedule(name, { steps: 3, warmup: 10 });
    for (const step of [0, 1, 2]) expect(schedule(step)).toBeGreaterThan(0);
  });

  it("computes an expression of step, steps and warmup", async () => {
    const text = "step < warmup ? (step + 1) / warmup : max(0.1, 0.5 ^ ((step - warmup) / (steps - warmup)))";
    const schedule = await createSchedule(text, { steps: 12, warmup: 2 });
    expect(schedule(0)).toBe(0.5);
    expect(schedule(2)).toBe(1);
    expect(schedule(7)).toBeCloseTo(Math.SQRT1_2, 12);
  });

  it.each([
    "import({pi: 3})",
    'createUnit("foo")',
    'evaluate("1")',
    'parse("1")',
    'simplify("x")',
    'derivative("x^2", "x")',
    "f(x) = x",
    "steps = 1",
    "step.constructor",
    '"a".length',
    "[1, 2][1]",
    "{a: 1}.a",
    "cos.constructor",
    "ones(100000, 100000)",
    "factorial(170)",
    "step; 1",
    "1:1e9",
    "step!",
    "2 cm",
  ])("refuses %s", async (text) => {
    await expect(createSchedule(text, { steps: 10, warmup: 1 })).rejects.toThrow(/^Cannot use the schedule/);
  });

  it.each([
    "cosin",
    "step +",
    "1 - step",
    "1 / step",
    "log(step)",
    "sqrt(-1 - step)",
    "1 < 2",
    "1+".repeat(600),
  ])("refuses %s before the run begins, with a sentence", async (text) => {
    await expect(createSchedule(text, { steps: 10, warmup: 1 })).rejects.toThrow(
      /^Cannot use the schedule .*: /,
    );
  });
});
