/** What colour each cell has, and what a legend says of it. */

import { interpolateViridis } from "d3-scale-chromatic";
import type { CategoryColouring, Colouring, NumberColouring } from "./contract";
import { categoryColours, packed } from "./palette";

/** Of cells without a value, and of the rarest categories together: greys that are seen on either paper. */
export const MISSING = packed(0x8a8a8a);
export const OTHER = packed(0x666666);

/** As many categories get a colour of their own. */
const MOST_CATEGORIES = 100;
const SHADES = 256;

/** A line of the legend. */
export interface Entry {
  label: string;
  count: number;
  colour: number;
  /** Of the cells in it: positions in `categories`; empty: those without a value. */
  categories: number[];
}

export interface CategoryColours {
  kind: "categories";
  title: string;
  /** [cells]: 0xffBBGGRR. */
  colours: Uint32Array;
  entries: Entry[];
}

export interface NumberColours {
  kind: "numbers";
  title: string;
  colours: Uint32Array;
  /** Values at the ends of the scale; what is beyond has the colour of the end. */
  low: number;
  high: number;
  /** Of all values. */
  min: number;
  max: number;
  /** Cells without a value. */
  missing: number;
  /** [shades]: from low to high. */
  scale: Uint32Array;
}

export type Colours = CategoryColours | NumberColours;

/** Colours on dark or light paper: numbers leave out the end of the scale that would not be seen on it. */
export function coloursOf(colouring: Colouring, dark: boolean): Colours {
  return colouring.kind === "categories" ? ofCategories(colouring, dark) : ofNumbers(colouring, dark);
}

function ofCategories({ title, categories, codes }: CategoryColouring, dark: boolean): CategoryColours {
  const counts = new Uint32Array(categories.length);
  let missing = 0;
  for (const code of codes) {
    if (code >= 0 && code < categories.length) counts[code]++;
    else missing++;
  }
  const used = Array.from(counts.keys()).filter((code) => counts[code] > 0);
  const frequent = [...used].sort((a, b) => counts[b] - counts[a] || a - b);
  const own = new Set(used.length > MOST_CATEGORIES ? frequent.slice(0, MOST_CATEGORIES - 1) : used);
  const palette = categoryColours(own.size, dark);
  const byCode = new Uint32Array(categories.length).fill(OTHER);
  const entries: Entry[] = [];
  const rest: Entry = { label: "", count: 0, colour: OTHER, categories: [] };
  for (const code of used) {
    if (own.has(code)) {
      byCode[code] = palette[entries.length];
      entries.push({ label: categories[code], count: counts[code], colour: byCode[code], categories: [code] });
    } else {
      rest.count += counts[code];
      rest.categories.push(code);
    }
  }
  if (rest.count > 0) entries.push({ ...rest, label: `${rest.categories.length} rarest categories` });
  if (missing > 0) entries.push({ label: missingLabel(categories), count: missing, colour: MISSING, categories: [] });
  const colours = new Uint32Array(codes.length);
  for (let cell = 0; cell < codes.length; cell++) {
    const code = codes[cell];
    colours[cell] = code >= 0 && code < categories.length ? byCode[code] : MISSING;
  }
  return { kind: "categories", title, colours, entries };
}

function ofNumbers({ title, values }: NumberColouring, dark: boolean): NumberColours {
  const range = rangeOf(values);
  const { low, high } = range;
  const scale = viridis(dark);
  const colours = new Uint32Array(values.length);
  const step = high > low ? (SHADES - 1) / (high - low) : 0;
  let missing = 0;
  for (let cell = 0; cell < values.length; cell++) {
    const value = values[cell];
    if (Number.isNaN(value)) {
      colours[cell] = MISSING;
      missing++;
    } else if (!Number.isFinite(value)) {
      colours[cell] = scale[value > 0 ? SHADES - 1 : 0];
    } else {
      const shade = step === 0 ? (SHADES - 1) / 2 : Math.min(SHADES - 1, Math.max(0, (value - low) * step));
      colours[cell] = scale[Math.round(shade)];
    }
  }
  return { kind: "numbers", title, colours, ...range, missing, scale };
}

/**
 * The 1st and 99th percentile of the finite values (linear between ranks, as numpy's), or all where these are the same;
 * NaN without any. `min` and `max` are of all values, infinite ones too.
 */
export function rangeOf(values: Float32Array): { low: number; high: number; min: number; max: number } {
  const sorted = values.filter((value) => Number.isFinite(value)).sort();
  const [least, most] = [percentile(sorted, 0), percentile(sorted, 100)];
  const [low, high] = [percentile(sorted, 1), percentile(sorted, 99)];
  const min = values.includes(-Infinity) ? -Infinity : least;
  const max = values.includes(Infinity) ? Infinity : most;
  return high > low ? { low, high, min, max } : { low: least, high: most, min, max };
}

function percentile(sorted: Float32Array, percent: number): number {
  if (sorted.length === 0) return Number.NaN;
  const rank = (percent / 100) * (sorted.length - 1);
  const below = Math.floor(rank);
  const above = Math.min(sorted.length - 1, below + 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (rank - below);
}

function viridis(dark: boolean): Uint32Array {
  const [from, to] = dark ? [0.22, 1] : [0, 0.92];
  return Uint32Array.from({ length: SHADES }, (_, i) =>
    packed(Number.parseInt(interpolateViridis(from + ((to - from) * i) / (SHADES - 1)).slice(1), 16)),
  );
}

/** What a cell is coloured by, in words. */
export function valueText(colouring: Colouring, cell: number): string {
  if (colouring.kind === "numbers") return inWords(colouring.values[cell]);
  return colouring.categories[colouring.codes[cell]] ?? missingLabel(colouring.categories);
}

const NO_VALUE = "no value";

/** Of cells without a category, also where a category has the usual name for them. */
function missingLabel(categories: string[]): string {
  return categories.includes(NO_VALUE) ? "cells without a value" : NO_VALUE;
}

/** A number to four digits, or to the last digit before the point. */
export function inWords(value: number): string {
  if (Number.isNaN(value)) return NO_VALUE;
  const size = Math.abs(value);
  if (size === Infinity) return value > 0 ? "infinity" : "-infinity";
  if (size >= 1e15) return Number(value.toPrecision(7)).toExponential();
  if (size >= 1000) return value.toLocaleString("en", { maximumFractionDigits: 0 });
  if (size < 1e-6 && size > 0) return Number(value.toPrecision(4)).toExponential();
  return value.toLocaleString("en", { maximumSignificantDigits: 4 });
}
