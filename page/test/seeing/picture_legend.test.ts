import { expect, test } from "vitest";
import { coloursOf } from "../../src/seeing/colours";
import { COLUMN, layoutOf, linesOf } from "../../src/seeing/picture_legend";

test("a few lines are one column beside the plot", () => {
  expect(layoutOf(8, 800, 480)).toEqual({ columns: 1, rows: 8, height: 480 });
  expect(layoutOf(0, 800, 480)).toEqual({ columns: 1, rows: 0, height: 480 });
});

test.each([60, 102])("%i lines are in columns, without a taller picture while there is room", (lines) => {
  const { columns, rows, height } = layoutOf(lines, 1150, 480);
  expect(columns * rows).toBeGreaterThanOrEqual(lines);
  expect((columns - 1) * rows).toBeLessThan(lines);
  expect(columns).toBeGreaterThan(1);
  expect(height).toBeLessThan(500);
});

test("beside a small plot the legend grows downwards, not wider than the plot", () => {
  const { columns, rows, height } = layoutOf(102, 340, 288);
  expect(columns).toBe(1);
  expect(rows).toBe(102);
  expect(height).toBeGreaterThan(102 * 20);
  expect(layoutOf(102, 700, 288).columns * COLUMN).toBeLessThanOrEqual(700);
});

test("every category has its line; pale points are explained where some cells are selected", () => {
  const categories = Array.from({ length: 60 }, (_, i) => `Type ${i}`);
  const codes = Int32Array.from({ length: 121 }, (_, i) => (i === 120 ? -1 : i % 60));
  const colours = coloursOf({ kind: "categories", title: "", categories, codes }, false);
  if (colours.kind !== "categories") throw new Error("not categories");
  const labels = (unselected: number | null) => linesOf(colours, unselected, false).map(({ label }) => label);
  const all = [...categories.map((name) => `${name} (2)`), "no value (1)"];
  expect(labels(null)).toEqual(all);
  expect(labels(1234)).toEqual([...all, "pale: not selected (1,234)"]);
});
