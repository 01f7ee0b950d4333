import { describe, expect, test } from "vitest";
import { coloursOf, inWords, MISSING, rangeOf, valueText } from "../../src/seeing/colours";
import type { CategoryColouring, NumberColouring } from "../../src/seeing/contract";
import { categoryColours, css, packed } from "../../src/seeing/palette";

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

/** Lightness and the two colour axes of CIE Lab, D65, of linear light. */
function lab([red, green, blue]: number[]): number[] {
  const f = (t: number): number => (t > 216 / 24389 ? Math.cbrt(t) : ((24389 / 27) * t + 16) / 116);
  const x = f((0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505);
  const y = f(0.2126 * red + 0.7152 * green + 0.0722 * blue);
  const z = f((0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

function linear(colour: number): number[] {
  return [colour & 0xff, (colour >>> 8) & 0xff, (colour >>> 16) & 0xff].map((byte) => {
    const light = byte / 255;
    return light <= 0.04045 ? light / 12.92 : ((light + 0.055) / 1.055) ** 2.4;
  });
}

/** How eyes without red or green cones see it (Machado 2009, severity 1, on linear light). */
const EYES: Record<string, number[][]> = {
  usual: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  deutan: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  protan: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
};

describe("the palette", () => {
  const ten = Array.from(categoryColours(10));

  test.each(Object.entries(EYES))("tells the first ten apart for %s eyes", (eyes, matrix) => {
    const seen = ten.map((colour) => {
      const light = linear(colour);
      return lab(matrix.map((row) => Math.max(0, row[0] * light[0] + row[1] * light[1] + row[2] * light[2])));
    });
    const least = eyes === "usual" ? 40 : 20;
    for (let i = 0; i < 10; i++) {
      for (let j = 0; j < i; j++) {
        const apart = Math.hypot(...seen[i].map((value, axis) => value - seen[j][axis]));
        expect(apart, `${i + 1} and ${j + 1}`).toBeGreaterThan(least);
      }
    }
  });

  test("is seen on white and on dark paper", () => {
    for (const colour of categoryColours(100)) {
      const [red, green, blue] = linear(colour);
      const light = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
      expect(1.05 / (light + 0.05)).toBeGreaterThan(1.7);
      expect((light + 0.05) / (0.009 + 0.05)).toBeGreaterThan(2.2);
    }
  });

  test("has a hundred different colours, whose first ones do not depend on how many are asked for", () => {
    const hundred = Array.from(categoryColours(100));
    expect(new Set(hundred).size).toBe(100);
    expect(hundred.slice(0, 10)).toEqual(ten);
  });

  test("is stored as pixels are", () => {
    expect(packed(0x102030)).toBe(0xff302010);
    expect(css(0xff302010)).toBe("rgb(16 32 48)");
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

  test("are told to four digits", () => {
    expect(inWords(1234567)).toBe("1,235,000");
    expect(inWords(0.000123456)).toBe("0.0001235");
    expect(inWords(Number.NaN)).toBe("no value");
  });
});

test("a cell's value is told in words", () => {
  expect(valueText(types, 1)).toBe("T");
  expect(valueText(types, 4)).toBe("no value");
  expect(valueText({ kind: "numbers", title: "", values: Float32Array.from([0.5]) }, 0)).toBe("0.5");
});
