/** What colour each cell has, and what a legend says of it. */

import { interpolateViridis } from "d3-scale-chromatic";
import type { CategoryColouring, Colouring, NumberColouring } from "./contract";
import { categoryColours, packed } from "./palette";

/** Of cells without a value, and of the rarest categories together: grey on either paper. */
export const MISSING = packed(0x9a9a9a);
const OTHER = packed(0x7c7c7c);

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
  return colouring.kind === "categories" ? ofCategories(colouring) : ofNumbers(colouring, dark);
}

function ofCategories({ title, categories, codes }: CategoryColouring): CategoryColours {
  const counts = new Uint32Array(categories.length);
  let missing = 0;
  for (const code of codes) {
    if (code >= 0 && code < categories.length) counts[code]++;
    else missing++;
  }
  const used = Array.from(counts.keys()).filter((code) => counts[code] > 0);
  const frequent = [...used].sort((a, b) => counts[b] - counts[a] || a - b);
  const own = new Set(used.length > MOST_CATEGORIES ? frequent.slice(0, MOST_CATEGORIES - 1) : used);
  const palette = categoryColours(own.size);
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
  if (missing > 0) entries.push({ label: "no value", count: missing, colour: MISSING, categories: [] });
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
    if (!Number.isFinite(value)) {
      colours[cell] = MISSING;
      missing++;
    } else {
      const shade = step === 0 ? (SHADES - 1) / 2 : Math.min(SHADES - 1, Math.max(0, (value - low) * step));
      colours[cell] = scale[Math.round(shade)];
    }
  }
  return { kind: "numbers", title, colours, ...range, missing, scale };
}

/** The 1st and 99th percentile (linear between ranks, as numpy's), or all where these are the same; NaN without values. */
export function rangeOf(values: Float32Array): { low: number; high: number; min: number; max: number } {
  const sorted = values.filter((value) => Number.isFinite(value)).sort();
  const min = percentile(sorted, 0);
  const max = percentile(sorted, 100);
  const low = percentile(sorted, 1);
  const high = percentile(sorted, 99);
  return high > low ? { low, high, min, max } : { low: min, high: max, min, max };
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
  if (colouring.kind === "categories") return colouring.categories[colouring.codes[cell]] ?? "no value";
  return Number.isFinite(colouring.values[cell]) ? inWords(colouring.values[cell]) : "no value";
}

/** A number to four digits. */
export function inWords(value: number): string {
  if (!Number.isFinite(value)) return "no value";
  return value.toLocaleString("en", { maximumSignificantDigits: 4 });
}
