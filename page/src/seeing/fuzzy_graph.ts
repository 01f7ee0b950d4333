/** How strongly cells belong together: UMAP's fuzzy graph (McInnes, Healy and Melville 2018, section 3.1). */

import type { Neighbours } from "./neighbours";

/** Each edge stands there twice, once from either end. */
export interface Graph {
  heads: Int32Array;
  tails: Int32Array;
  /** In (0, 1]. */
  weights: Float32Array;
}

/** Steps of the search for a cell's scale. */
const STEPS = 64;
/** A scale is at least this part of the mean distance. */
const LEAST = 1e-3;

export function graphOf({ k, cells, distances }: Neighbours): Graph {
  const nCells = cells.length / k;
  const strengths = new Float32Array(cells.length);
  for (let cell = 0; cell < nCells; cell++) {
    const from = cell * k;
    strengths.set(strengthsOf(distances.subarray(from, from + k)), from);
  }
  const strengthBack = (cell: number, other: number): number => {
    for (let j = other * k; j < (other + 1) * k; j++) if (cells[j] === cell) return strengths[j];
    return 0;
  };
  const heads: number[] = [];
  const tails: number[] = [];
  const weights: number[] = [];
  for (let cell = 0; cell < nCells; cell++) {
    for (let i = cell * k; i < (cell + 1) * k; i++) {
      const other = cells[i];
      if (other < 0) continue;
      const back = strengthBack(cell, other);
      // Seen from both ends: the end with the smaller number tells of it.
      if (back > 0 && other < cell) continue;
      const weight = strengths[i] + back - strengths[i] * back;
      heads.push(cell, other);
      tails.push(other, cell);
      weights.push(weight, weight);
    }
  }
  return { heads: Int32Array.from(heads), tails: Int32Array.from(tails), weights: Float32Array.from(weights) };
}

/** Of one cell's neighbours: 1 for the nearest, falling so that they sum up to log2 of their number and one. */
export function strengthsOf(distances: Float32Array): Float32Array {
  const finite = distances.filter(Number.isFinite);
  const nearest = finite.find((distance) => distance > 0) ?? 0;
  const mean = finite.reduce((sum, distance) => sum + distance, 0) / Math.max(1, finite.length);
  const wanted = Math.log2(distances.length + 1);
  const strength = (distance: number, scale: number): number =>
    distance <= nearest ? 1 : Math.exp((nearest - distance) / scale);
  let [low, high, scale] = [0, Number.POSITIVE_INFINITY, 1];
  for (let step = 0; step < STEPS; step++) {
    const sum = finite.reduce((total, distance) => total + strength(distance, scale), 0);
    if (Math.abs(sum - wanted) < 1e-5) break;
    if (sum > wanted) high = scale;
    else low = scale;
    scale = high === Number.POSITIVE_INFINITY ? scale * 2 : (low + high) / 2;
  }
  const kept = Math.max(scale, LEAST * mean, Number.MIN_VALUE);
  return distances.map((distance) => (Number.isFinite(distance) ? strength(distance, kept) : 0));
}
