import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { MISSING, OTHER } from "../../src/seeing/colours";
import { categoryColours, css, packed } from "../../src/seeing/palette";

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

/** The page's own, light and dark. */
const PAPERS = /--paper: light-dark\(#(\w{6}), #(\w{6})\)/
  .exec(readFileSync(new URL("../../src/style.css", import.meta.url), "utf8"))!
  .slice(1)
  .map((hex) => packed(Number.parseInt(hex, 16)));

function luminance(colour: number): number {
  const [red, green, blue] = linear(colour);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** As WCAG has it: 1 to 21. */
function contrast(one: number, other: number): number {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

describe.each([
  ["light", PAPERS[0]],
  ["dark", PAPERS[1]],
])("the palette on %s paper", (name, paper) => {
  const dark = name === "dark";
  const ten = Array.from(categoryColours(10, dark));

  test.each(Object.entries(EYES))("tells the first ten and missing values apart for %s eyes", (eyes, matrix) => {
    const seen = [...ten, MISSING].map((colour) => {
      const light = linear(colour);
      return lab(matrix.map((row) => Math.max(0, row[0] * light[0] + row[1] * light[1] + row[2] * light[2])));
    });
    // Grey is a little nearer to some.
    const [least, toGrey] = eyes === "usual" ? [40, 30] : [20, 15];
    for (let i = 0; i < seen.length; i++) {
      for (let j = 0; j < i; j++) {
        const apart = Math.hypot(...seen[i].map((value, axis) => value - seen[j][axis]));
        expect(apart, `${i + 1} and ${j + 1}`).toBeGreaterThan(i === 10 ? toGrey : least);
      }
    }
  });

  test("has a contrast of 3 to it, whatever the number, as have the greys", () => {
    for (const [at, colour] of [...categoryColours(100, dark), MISSING, OTHER].entries()) {
      expect(contrast(colour, paper), `${at + 1}: ${css(colour)}`).toBeGreaterThanOrEqual(3);
    }
  });

  test("has a hundred different colours, whose first ones do not depend on how many are asked for", () => {
    const hundred = Array.from(categoryColours(100, dark));
    expect(new Set([...hundred, MISSING, OTHER]).size).toBe(102);
    expect(hundred.slice(0, 10)).toEqual(ten);
  });
});

test("contrast is 21 between black and white", () => {
  expect(contrast(packed(0), packed(0xffffff))).toBeCloseTo(21, 9);
});

test("colours are stored as pixels are", () => {
  expect(packed(0x102030)).toBe(0xff302010);
  expect(css(0xff302010)).toBe("rgb(16 32 48)");
});
