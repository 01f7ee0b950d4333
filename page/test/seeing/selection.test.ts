import { expect, test } from "vitest";
import { coloursOf } from "../../src/seeing/colours";
import type { CategoryColouring } from "../../src/seeing/contract";
import { type Corner, chosenEntries, countOf, ofEntry, summaryOf, within } from "../../src/seeing/selection";

const colouring: CategoryColouring = {
  kind: "categories",
  title: "type",
  categories: ["B", "T"],
  codes: Int32Array.from([0, 1, 1, -1, 0]),
};
const colours = coloursOf(colouring, false);
if (colours.kind !== "categories") throw new Error("not categories");

test("a line selects what it surrounds, also where it is not convex", () => {
  // A "U": what lies in its opening is outside.
  const line: Corner[] = [
    [0, 0],
    [9, 0],
    [9, 9],
    [6, 9],
    [6, 3],
    [3, 3],
    [3, 9],
    [0, 9],
  ];
  const points = Float32Array.from([1, 8, 4.5, 8, 8, 8, 4.5, 1, 20, 1, Number.NaN, 1, 1, Number.NaN]);
  expect(Array.from(within(line, points)!)).toEqual([1, 0, 1, 1, 0, 0, 0]);
});

test("a line around nothing, or that is no area, selects nothing", () => {
  const points = Float32Array.from([1, 1]);
  expect(
    within(
      [
        [5, 5],
        [6, 5],
        [6, 6],
      ],
      points,
    ),
  ).toBeNull();
  expect(
    within(
      [
        [0, 0],
        [2, 2],
      ],
      points,
    ),
  ).toBeNull();
});

test("an entry of the legend selects its cells, also those without a value", () => {
  const [b, t, none] = colours.entries;
  expect(Array.from(ofEntry(b, colouring))).toEqual([1, 0, 0, 0, 1]);
  expect(Array.from(ofEntry(t, colouring))).toEqual([0, 1, 1, 0, 0]);
  expect(Array.from(ofEntry(none, colouring))).toEqual([0, 0, 0, 1, 0]);
});

test("an entry counts as chosen when its cells and no others are selected", () => {
  const chosen = (mask: number[] | null): boolean[] =>
    chosenEntries(mask && Uint8Array.from(mask), colouring, colours.entries);
  expect(chosen([0, 1, 1, 0, 0])).toEqual([false, true, false]);
  expect(chosen([0, 0, 0, 255, 0])).toEqual([false, false, true]);
  expect(chosen([0, 1, 0, 0, 0])).toEqual([false, false, false]);
  expect(chosen([1, 1, 1, 0, 1])).toEqual([false, false, false]);
  expect(chosen(null)).toEqual([false, false, false]);
});

test("what is selected is told by its shares, the largest first", () => {
  const mask = Uint8Array.from([1, 1, 1, 1, 0]);
  expect(countOf(mask)).toBe(4);
  expect(summaryOf(mask, colouring, colours)).toEqual([
    { label: "T", count: 2, share: 0.5 },
    { label: "B", count: 1, share: 0.25 },
    { label: "no value", count: 1, share: 0.25 },
  ]);
});

test("of numbers the mean is told, without missing ones", () => {
  const values = Float32Array.from([1, 5, Number.NaN, 100]);
  expect(summaryOf(Uint8Array.from([1, 1, 1, 0]), { kind: "numbers", title: "", values }, null)).toBe(3);
  expect(summaryOf(Uint8Array.from([0, 0, 1, 0]), { kind: "numbers", title: "", values }, null)).toBeNaN();
});
