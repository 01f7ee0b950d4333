import { expect, test } from "vitest";
import { nextOf, suggestions } from "../../src/seeing/find_cell";

test("names are suggested by a part of them, twenty at most", () => {
  const ids = Array.from({ length: 100 }, (_, i) => `CELL-${i}`);
  expect(suggestions(ids, "L-42")).toEqual([42]);
  expect(suggestions(ids, "CELL")).toHaveLength(20);
  expect(suggestions(ids, "")).toEqual([]);
  expect(suggestions(ids, "nothing")).toEqual([]);
});

test("a name that several cells have is suggested once", () => {
  expect(suggestions(["A1", "A2", "A1", "A1"], "A")).toEqual([0, 1]);
});

test("cells of one name are gone through in turn, and round again", () => {
  const ids = ["A", "B", "A", "C", "A"];
  expect(nextOf(ids, "A", null)).toEqual({ cell: 0, at: 1, n: 3 });
  expect(nextOf(ids, "A", 0)).toEqual({ cell: 2, at: 2, n: 3 });
  expect(nextOf(ids, "A", 2)).toEqual({ cell: 4, at: 3, n: 3 });
  expect(nextOf(ids, "A", 4)).toEqual({ cell: 0, at: 1, n: 3 });
});

test("after a cell of another name the first is next; of an unknown name there is none", () => {
  const ids = ["A", "B", "A"];
  expect(nextOf(ids, "A", 1)).toEqual({ cell: 0, at: 1, n: 2 });
  expect(nextOf(ids, "B", null)).toEqual({ cell: 1, at: 1, n: 1 });
  expect(nextOf(ids, "D", 0)).toBeNull();
});
