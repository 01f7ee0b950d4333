/** Which cells are chosen: by a line drawn around them, or by what they are. */

import type { CategoryColours, Entry } from "./colours";
import type { CategoryColouring, Colouring } from "./contract";

/** A corner of the line, in the plane of the points. */
export type Corner = [number, number];

/** The cells within the line; null: none are. */
export function within(line: Corner[], points: Float32Array): Uint8Array | null {
  if (line.length < 3) return null;
  let [minX, minY, maxX, maxY] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of line) {
    minX = Math.min(minX, x);
    maxX = Math.max(maxX, x);
    minY = Math.min(minY, y);
    maxY = Math.max(maxY, y);
  }
  const xs = Float64Array.from(line, (corner) => corner[0]);
  const ys = Float64Array.from(line, (corner) => corner[1]);
  const mask = new Uint8Array(points.length / 2);
  let found = 0;
  for (let cell = 0; cell < mask.length; cell++) {
    const x = points[2 * cell];
    const y = points[2 * cell + 1];
    const near = x >= minX && x <= maxX && y >= minY && y <= maxY;
    if (near && surrounds(xs, ys, x, y)) {
      mask[cell] = 1;
      found++;
    }
  }
  return found > 0 ? mask : null;
}

/** Whether a ray from (x, y) to the right crosses the closed line an odd number of times. */
function surrounds(xs: Float64Array, ys: Float64Array, x: number, y: number): boolean {
  let inside = false;
  for (let to = 0, from = xs.length - 1; to < xs.length; from = to++) {
    const above = ys[to] > y;
    if (above === ys[from] > y) continue;
    if (x < xs[to] + ((y - ys[to]) / (ys[from] - ys[to])) * (xs[from] - xs[to])) inside = !inside;
  }
  return inside;
}

/** The cells of an entry of the legend. */
export function ofEntry(entry: Entry, { categories, codes }: CategoryColouring): Uint8Array {
  const none = entry.categories.length === 0 ? 1 : 0;
  const wanted = new Uint8Array(categories.length);
  for (const code of entry.categories) wanted[code] = 1;
  const mask = new Uint8Array(codes.length);
  for (let cell = 0; cell < mask.length; cell++) mask[cell] = wanted[codes[cell]] ?? none;
  return mask;
}

/** How many of the selected cells each entry has. */
export function countsOf(mask: Uint8Array, { categories, codes }: CategoryColouring, entries: Entry[]): Uint32Array {
  const entryOf = new Int32Array(categories.length).fill(-1);
  for (const [at, entry] of entries.entries()) for (const code of entry.categories) entryOf[code] = at;
  const none = entries.findIndex((entry) => entry.categories.length === 0);
  const counts = new Uint32Array(entries.length);
  for (let cell = 0; cell < mask.length; cell++) {
    if (mask[cell] !== 0) counts[entryOf[codes[cell]] ?? none]++;
  }
  return counts;
}

/** By entry: whether its cells, and no others, are selected. */
export function chosenEntries(mask: Uint8Array | null, colouring: CategoryColouring, entries: Entry[]): boolean[] {
  if (mask === null) return entries.map(() => false);
  const counts = countsOf(mask, colouring, entries);
  const n = countOf(mask);
  return entries.map((entry, at) => counts[at] === n && entry.count === n);
}

export function countOf(mask: Uint8Array): number {
  let n = 0;
  for (const value of mask) if (value !== 0) n++;
  return n;
}

export interface Share {
  label: string;
  count: number;
  /** Of the selected cells, 0 to 1. */
  share: number;
}

/** What the selected cells are: the categories among them, the most frequent first; or the mean of their numbers. */
export function summaryOf(mask: Uint8Array, colouring: Colouring, colours: CategoryColours | null): Share[] | number {
  if (colouring.kind === "numbers") {
    let sum = 0;
    let n = 0;
    for (let cell = 0; cell < mask.length; cell++) {
      const value = colouring.values[cell];
      if (mask[cell] === 0 || Number.isNaN(value)) continue;
      sum += value;
      n++;
    }
    return n > 0 ? sum / n : Number.NaN;
  }
  const entries = colours?.entries ?? [];
  const counts = countsOf(mask, colouring, entries);
  const n = countOf(mask);
  return entries
    .map(({ label }, at) => ({ label, count: counts[at], share: counts[at] / n }))
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count);
}
