/** The nearest cells of each cell: by random trees, then by asking neighbours for theirs. */

import { seededRandom } from "./random";

export interface Neighbours {
  /** Of each cell, itself left out. */
  k: number;
  /** [cells x k]: nearest first. */
  cells: Int32Array;
  /** [cells x k]: Euclidean. */
  distances: Float32Array;
}

const TREES = 10;
const LEAF = 40;
const ROUNDS = 2;
/** With fewer cells all are compared with all. */
const FEW = 2000;

/** Of `z`, [cells x dimensions]; exact for few cells, else some are missed: of mere noise, 1 in 20 with 20,000 cells. */
export function neighboursOf(z: Float32Array, nCells: number, nLatent: number, k: number): Neighbours {
  const search = new Search(z, nCells, nLatent, k);
  if (nCells <= FEW) {
    const all = Uint32Array.from({ length: nCells }, (_, i) => i);
    search.compareAll(all);
  } else {
    const random = seededRandom(2);
    for (let tree = 0; tree < TREES; tree++) search.grow(random);
    for (let round = 0; round < ROUNDS; round++) search.askNeighbours();
  }
  return search.found();
}

class Search {
  private readonly cells: Int32Array;
  /** Squares of distances. */
  private readonly squares: Float32Array;

  constructor(
    private readonly z: Float32Array,
    private readonly nCells: number,
    private readonly nLatent: number,
    private readonly k: number,
  ) {
    this.cells = new Int32Array(nCells * k).fill(-1);
    this.squares = new Float32Array(nCells * k).fill(Number.POSITIVE_INFINITY);
  }

  found(): Neighbours {
    return { k: this.k, cells: this.cells, distances: this.squares.map(Math.sqrt) };
  }

  compareAll(group: Uint32Array): void {
    for (let i = 1; i < group.length; i++) {
      for (let j = 0; j < i; j++) this.compare(group[i], group[j]);
    }
  }

  /** Splits the cells again and again by planes between two of them, and compares those that stay together. */
  grow(random: () => number): void {
    const waiting: Uint32Array[] = [Uint32Array.from({ length: this.nCells }, (_, i) => i)];
    for (let group = waiting.pop(); group !== undefined; group = waiting.pop()) {
      if (group.length <= LEAF) this.compareAll(group);
      else waiting.push(...this.halves(group, random));
    }
  }

  private halves(group: Uint32Array, random: () => number): [Uint32Array, Uint32Array] {
    const one = group[Math.floor(random() * group.length)] * this.nLatent;
    const other = group[Math.floor(random() * group.length)] * this.nLatent;
    const along = new Float32Array(group.length);
    for (let i = 0; i < group.length; i++) {
      const start = group[i] * this.nLatent;
      let sum = 0;
      for (let at = 0; at < this.nLatent; at++) sum += this.z[start + at] * (this.z[one + at] - this.z[other + at]);
      along[i] = sum;
    }
    // At the median, so that no tree becomes deep; cells on the plane fill the first half.
    const half = group.length >> 1;
    const middle = along.slice().sort()[half];
    const parts: [Uint32Array, Uint32Array] = [new Uint32Array(half), new Uint32Array(group.length - half)];
    let room = half - along.reduce((below, value) => (value < middle ? below + 1 : below), 0);
    const filled = [0, 0];
    for (let i = 0; i < group.length; i++) {
      const first = along[i] < middle || (along[i] === middle && room-- > 0);
      const part = first ? 0 : 1;
      parts[part][filled[part]++] = group[i];
    }
    return parts;
  }

  askNeighbours(): void {
    const { k } = this;
    const known = this.cells.slice();
    for (let cell = 0; cell < this.nCells; cell++) {
      for (let i = 0; i < k; i++) {
        const friend = known[cell * k + i];
        if (friend < 0) continue;
        for (let j = 0; j < k; j++) {
          const theirs = known[friend * k + j];
          if (theirs >= 0 && theirs !== cell) this.compare(cell, theirs);
        }
      }
    }
  }

  private compare(one: number, other: number): void {
    const { z, nLatent, k, squares } = this;
    const worst = Math.max(squares[one * k + k - 1], squares[other * k + k - 1]);
    let [a, b] = [one * nLatent, other * nLatent];
    let square = 0;
    for (const end = a + nLatent; a < end; a++, b++) {
      const difference = z[a] - z[b];
      square += difference * difference;
    }
    if (square >= worst) return;
    this.keep(one, other, square);
    this.keep(other, one, square);
  }

  /** Puts `other` in its place among the nearest of `cell`, once. */
  private keep(cell: number, other: number, square: number): void {
    const { cells, squares, k } = this;
    const first = cell * k;
    let at = first + k - 1;
    if (square >= squares[at]) return;
    for (let i = first; i < first + k; i++) if (cells[i] === other) return;
    for (; at > first && squares[at - 1] > square; at--) {
      squares[at] = squares[at - 1];
      cells[at] = cells[at - 1];
    }
    squares[at] = square;
    cells[at] = other;
  }
}
