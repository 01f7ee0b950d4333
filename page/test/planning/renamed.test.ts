import { expect, test } from "vitest";
import { mayBe, renamedProteins } from "../../src/planning/renamed";

test.each([
  ["CD4", "CD4_TotalSeqB"],
  ["CD4-TotalSeqC", "CD4_TotalSeqB"],
  ["anti-human-CD4", "CD4"],
  ["ADT-CD4", "CD4_prot"],
  ["cd45ra", "CD45RA_TotalSeqB"],
  ["PD-1", "PD-1_TotalSeqB"],
  ["PD1", "PD-1_TotalSeqB"],
  ["CD4.1", "CD4_TotalSeqB"],
])("%s may be %s", (theirs, ours) => {
  expect(renamedProteins([ours], [theirs])).toEqual([[theirs, ours]]);
});

test.each([
  ["CD4", "CD8a_TotalSeqB"],
  ["CD45", "CD45RA_TotalSeqB"],
  ["ADT", "adt"],
])("%s is not %s", (theirs, ours) => {
  expect(renamedProteins([ours], [theirs])).toEqual([]);
});

test("the closest is taken, and each of the model's once", () => {
  expect(renamedProteins(["CD41_TotalSeqB", "CD4_TotalSeqB"], ["CD4.1", "CD4"])).toEqual([["CD4.1", "CD4_TotalSeqB"]]);
});

test("a few are told", () => {
  const pairs = ["a", "b", "c"].map((name) => [name, name.toUpperCase()] as const);
  expect(mayBe(pairs, 2)).toBe(`"a" may be the model's "A", "b" may be the model's "B", and so on`);
});
