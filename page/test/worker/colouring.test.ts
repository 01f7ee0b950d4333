import { expect, test } from "vitest";
import { colouringOf } from "../../src/worker/colouring";

const numbers = (...values: number[]) => ({
  kind: "numbers" as const,
  values: Float64Array.from(values),
  whole: false,
});

test("whole numbers of few kinds are labels, in their order, and a missing one is none", () => {
  expect(colouringOf("leiden", numbers(10, 2, Number.NaN, 2))).toEqual({
    kind: "categories",
    title: "leiden",
    categories: ["2", "10"],
    codes: Int32Array.of(1, 0, -1, 0),
  });
});

test.each([
  ["fractions", numbers(0.5, 1)],
  ["many kinds", numbers(...Array.from({ length: 51 }, (_, n) => n))],
  ["nothing", numbers(Number.NaN)],
])("%s are numbers", (_, column) => {
  expect(colouringOf("n_counts", column)).toMatchObject({ kind: "numbers", values: Float32Array.from(column.values) });
});
