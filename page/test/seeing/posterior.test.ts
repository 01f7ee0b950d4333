import { expect, test } from "vitest";
import { intervalsOf, ticksOf } from "../../src/seeing/posterior_panel";

test("the interval is the mean and 1.96 standard deviations on either side", () => {
  const posterior = {
    cell: 0,
    cellId: "A",
    mean: Float32Array.from([1, -2]),
    variance: Float32Array.from([4, 0.25]),
    samples: new Float32Array(0),
    seed: 0,
  };
  const [one, two] = intervalsOf(posterior);
  expect([one.low, one.high]).toEqual([1 - 3.92, 1 + 3.92]);
  expect([two.low, two.high]).toEqual([-2.98, -1.02]);
});

test.each([
  [-2.7, 3.1],
  [0, 0],
  [0.001, 0.0042],
  [-1e4, 250],
])("ticks from %d to %d are round, few and around both", (low, high) => {
  const ticks = ticksOf(low, high);
  expect(ticks.length).toBeGreaterThan(1);
  expect(ticks.length).toBeLessThan(10);
  expect(ticks[0]).toBeLessThanOrEqual(low);
  expect(ticks[ticks.length - 1]).toBeGreaterThanOrEqual(high);
});
