/** What the numbers of a matrix look like, from rows all over it. */

import type { CsrRows, Matrix } from "../reading/contract";
import type { NumberKind } from "./contract";

const SAMPLED_BLOCKS = 16;
const SAMPLED_ROWS = 64;
/** log1p of 10,000 counts a cell is at most 9.2 and of a million 13.9; the service draws the same line. */
const LOG_LIKE_MAX = 20;
const LEAST_MULTIPLES = 5;

/** How a message says it. */
export const KIND_WORDS: Record<NumberKind, string> = {
  counts: "counts",
  fractions: "counts with fractions, as after removing ambient counts",
  normalised: "normalised",
  "log-normalised": "log-normalised",
  scaled: "scaled or centred",
  negative: "below zero",
  "not finite": "not all finite",
};

const known = new WeakMap<Matrix, NumberKind>();

/** What a sample of the rows looks like; a matrix of zeros, or of no cells, is counts. Looked at once. */
export function kindOf(matrix: Matrix): NumberKind {
  let kind = known.get(matrix);
  if (kind === undefined) {
    kind = kindOfRows(sampledRows(matrix));
    known.set(matrix, kind);
  }
  return kind;
}

function sampledRows(matrix: Matrix): CsrRows[] {
  const last = Math.max(matrix.nCells - SAMPLED_ROWS, 0);
  const starts = Array.from({ length: SAMPLED_BLOCKS }, (_, block) =>
    Math.floor((last * block) / (SAMPLED_BLOCKS - 1)),
  );
  const blocks = [...new Set(starts)];
  return matrix.nCells === 0
    ? []
    : blocks.map((start) => matrix.rows(start, Math.min(start + SAMPLED_ROWS, matrix.nCells)));
}

function kindOfRows(blocks: CsrRows[]): NumberKind {
  let nValues = 0;
  let nWhole = 0;
  let lowest = Number.POSITIVE_INFINITY;
  let highest = Number.NEGATIVE_INFINITY;
  for (const { data } of blocks) {
    for (const value of data) {
      if (value === 0) {
        continue;
      }
      if (!Number.isFinite(value)) {
        return "not finite";
      }
      nValues += 1;
      nWhole += Number.isInteger(value) ? 1 : 0;
      lowest = Math.min(lowest, value);
      highest = Math.max(highest, value);
    }
  }
  if (nValues === 0) {
    return "counts";
  }
  if (lowest < 0) {
    return nWhole === nValues ? "negative" : "scaled";
  }
  if (nWhole === nValues) {
    return "counts";
  }
  if (nWhole < 0.5 * nValues && highest < LOG_LIKE_MAX) {
    return "log-normalised";
  }
  return areMultiples(blocks) ? "normalised" : "fractions";
}

/** Whether most cells' numbers are multiples of the smallest: counts divided by the size of the cell. */
function areMultiples(blocks: CsrRows[]): boolean {
  let nLookedAt = 0;
  let nMultiples = 0;
  for (const { data, indptr } of blocks) {
    for (let row = 0; row + 1 < indptr.length; row++) {
      const values = Float64Array.from(data.subarray(indptr[row], indptr[row + 1])).filter((value) => value > 0);
      if (values.length < LEAST_MULTIPLES) {
        continue;
      }
      nLookedAt += 1;
      const least = values.reduce((lowest, value) => Math.min(lowest, value));
      const isWhole = values.every(Number.isInteger);
      const areRatiosWhole = values.every(
        (value) => Math.abs(value / least - Math.round(value / least)) <= (1e-3 * value) / least,
      );
      nMultiples += !isWhole && areRatiosWhole ? 1 : 0;
    }
  }
  return nLookedAt > 0 && nMultiples > 0.5 * nLookedAt;
}
