import { describe, expect, test } from "vitest";
import { coloursOf, inWords, MISSING, rangeOf, valueText } from "../../src/seeing/colours";
import type { CategoryColouring, NumberColouring } from "../../src/seeing/contract";

const types: CategoryColouring = {
  kind: "categories",
  title: "cell type",
  categories: ["B", "unused", "T", "NK"],
  codes: Int32Array.from([0, 2, 2, 3, -1, 0, 2]),
};

describe("categories", () => {
  test("have a colour each, in their order, with counts; missing ones are grey", () => {
    const colours = coloursOf(types, false);
    if (colours.kind !== "categories") throw new Error("not categories");
    expect(colours.entries.map(({ label, count }) => [label, count])).toEqual([
      ["B", 2],
      ["T", 3],
      ["NK", 1],
      ["no value", 1],
    ]);
    const [b, t, nk, none] = colours.entries.map((entry) => entry.colour);
    expect(Array.from(colours.colours)).toEqual([b, t, t, nk, none, b, t]);
    expect(none).toBe(MISSING);
    expect(new Set([b, t, nk, none]).size).toBe(4);
  });

  test("that are called as missing ones are usually called are told from them", () => {
    const named: CategoryColouring = { ...types, categories: ["no value", "unused", "T", "NK"] };
    const colours = coloursOf(named, false);
    if (colours.kind !== "categories") throw new Error("not categories");
    expect(colours.entries.map(({ label }) => label)).toEqual(["no value", "T", "NK", "cells without a value"]);
    expect(valueText(named, 0)).toBe("no value");
    expect(valueText(named, 4)).toBe("cells without a value");
  });

  test("beyond a hundred, the rarest share one colour", () => {
    const codes = Int32Array.from(Array.from({ length: 150 }, (_, code) => Array(code + 1).fill(code)).flat());
    const categories = Array.from({ length: 150 }, (_, code) => `c${code}`);
    const colours = coloursOf({ kind: "categories", title: "", categories, codes }, false);
    if (colours.kind !== "categories") throw new Error("not categories");
    expect(colours.entries).toHaveLength(100);
    const other = colours.entries[99];
    expect(other.label).toBe("51 rarest categories");
    expect(other.categories).toEqual(Array.from({ length: 51 }, (_, code) => code));
    expect(other.count).toBe((51 * 52) / 2);
    expect(colours.colours[0]).toBe(other.colour);
    expect(colours.colours[codes.length - 1]).not.toBe(other.colour);
    expect(colours.entries.reduce((sum, entry) => sum + entry.count, 0)).toBe(codes.length);
  });
});

describe("numbers", () => {
  test("go from the 1st to the 99th percentile, as numpy's", () => {
    const range = rangeOf(Float32Array.from([3, 1, 2, 10, 7, Number.NaN, 5, 4, 100, -50, 6]));
    expect(range.low).toBeCloseTo(-45.41, 4);
    expect(range.high).toBeCloseTo(91.9, 4);
    expect([range.min, range.max]).toEqual([-50, 100]);
  });

  test("keep their range where almost all are the same", () => {
    const values = new Float32Array(1000);
    values[0] = 5;
    expect(rangeOf(values)).toEqual({ low: 0, high: 5, min: 0, max: 5 });
  });

  test("have colours along the scale; what is beyond has the end's, what is missing is grey", () => {
    const values = Float32Array.from({ length: 201 }, (_, i) => i);
    values[100] = Number.NaN;
    const colours = coloursOf({ kind: "numbers", title: "library", values }, true);
    if (colours.kind !== "numbers") throw new Error("not numbers");
    expect(colours.colours[0]).toBe(colours.scale[0]);
    expect(colours.colours[200]).toBe(colours.scale[255]);
    expect(colours.colours[100]).toBe(MISSING);
    expect(colours.missing).toBe(1);
    expect(new Set(colours.scale).size).toBeGreaterThan(150);
  });

  test("that are all the same, or none, have a colour", () => {
    const same: NumberColouring = { kind: "numbers", title: "", values: new Float32Array(3).fill(7) };
    const colours = coloursOf(same, false);
    if (colours.kind !== "numbers") throw new Error("not numbers");
    expect(colours.colours[0]).toBe(colours.scale[128]);
    const none = coloursOf({ ...same, values: new Float32Array(2).fill(Number.NaN) }, false);
    expect(Array.from(none.colours)).toEqual([MISSING, MISSING]);
  });

  test("that are infinite have the colour of the end, and are not called missing", () => {
    const values = Float32Array.from([1, 2, Infinity, -Infinity, Number.NaN, 3]);
    const colours = coloursOf({ kind: "numbers", title: "", values }, false);
    if (colours.kind !== "numbers") throw new Error("not numbers");
    expect(colours.colours[2]).toBe(colours.scale[255]);
    expect(colours.colours[3]).toBe(colours.scale[0]);
    expect(colours.missing).toBe(1);
    expect([colours.min, colours.max]).toEqual([-Infinity, Infinity]);
    expect(colours.low).toBeGreaterThanOrEqual(1);
    expect(colours.high).toBeLessThanOrEqual(3);
    const all = coloursOf({ kind: "numbers", title: "", values: new Float32Array(2).fill(Infinity) }, false);
    expect(Array.from(all.colours)).toEqual([colours.scale[255], colours.scale[255]]);
  });

  test("are told to four digits, or to the last before the point", () => {
    expect(inWords(1234567)).toBe("1,234,567");
    expect(inWords(12345.6)).toBe("12,346");
    expect(inWords(999.96)).toBe("1,000");
    expect(inWords(0.000123456)).toBe("0.0001235");
    expect(inWords(1.23456e-9)).toBe("1.235e-9");
    expect(inWords(0)).toBe("0");
    expect(inWords(-2.5)).toBe("-2.5");
    expect(inWords(1e20)).toBe("1e+20");
    expect(inWords(Number.NaN)).toBe("no value");
    expect(inWords(Infinity)).toBe("infinity");
    expect(inWords(-Infinity)).toBe("-infinity");
  });

  test("that are large and differ are told differently", () => {
    const large = Float32Array.from([2 ** 40, 2 ** 40 + 2 ** 18, 2 ** 40 + 2 ** 19]);
    expect(Array.from(large, inWords)).toEqual(["1,099,511,627,776", "1,099,511,889,920", "1,099,512,152,064"]);
  });
});

test("a cell's value is told in words", () => {
  expect(valueText(types, 1)).toBe("T");
  expect(valueText(types, 4)).toBe("no value");
  expect(valueText({ kind: "numbers", title: "", values: Float32Array.from([0.5]) }, 0)).toBe("0.5");
});
