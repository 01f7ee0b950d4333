/** Moves cells so that those that belong together lie together: UMAP's layout by sampled forces. */

import type { Graph } from "./fuzzy_graph";

/** The curve 1 / (1 + A d^2B) closest to one that is 1 up to a distance of 0.3 and falls off as exp beyond. */
export const A = 0.9921756;
export const B = 1.1122534;

const NEGATIVES = 5;
/** Forces are cut off here, in each direction. */
const MOST = 4;

export class Layout {
  readonly nEpochs: number;
  private readonly heads: Int32Array;
  private readonly tails: Int32Array;
  /** Epochs between two pulls of an edge, and when it pulls next. */
  private readonly every: Float32Array;
  private readonly next: Float32Array;
  private epoch = 0;

  /** `places`, [2 x cells], are moved. */
  constructor(
    private readonly places: Float32Array,
    { heads, tails, weights }: Graph,
    private readonly random: () => number,
  ) {
    this.nEpochs = epochsFor(places.length / 2);
    const strongest = weights.reduce((most, weight) => Math.max(most, weight), 0);
    const kept = (_: number, edge: number): boolean => weights[edge] >= strongest / this.nEpochs;
    this.heads = heads.filter(kept);
    this.tails = tails.filter(kept);
    this.every = weights.filter(kept).map((weight) => strongest / weight);
    this.next = this.every.slice();
  }

  step(): void {
    const { places, heads, tails, every, next, random, epoch } = this;
    const nCells = places.length / 2;
    const rate = 1 - epoch / this.nEpochs;
    for (let edge = 0; edge < heads.length; edge++) {
      if (next[edge] > epoch) continue;
      next[edge] += every[edge];
      const head = 2 * heads[edge];
      const tail = 2 * tails[edge];
      let x = places[head];
      let y = places[head + 1];
      const pullX = x - places[tail];
      const pullY = y - places[tail + 1];
      const apart = pullX * pullX + pullY * pullY;
      if (apart > 0) {
        const power = apart ** B;
        const force = (-2 * A * B * power) / (apart * (A * power + 1));
        const stepX = rate * cut(force * pullX);
        const stepY = rate * cut(force * pullY);
        x += stepX;
        y += stepY;
        places[tail] -= stepX;
        places[tail + 1] -= stepY;
      }
      for (let k = 0; k < NEGATIVES; k++) {
        const other = 2 * Math.floor(random() * nCells);
        if (other === head) continue;
        const pushX = x - places[other];
        const pushY = y - places[other + 1];
        const square = pushX * pushX + pushY * pushY;
        const force = (2 * B) / ((0.001 + square) * (A * square ** B + 1));
        x += rate * (square > 0 ? cut(force * pushX) : MOST);
        y += rate * (square > 0 ? cut(force * pushY) : MOST);
      }
      places[head] = x;
      places[head + 1] = y;
    }
    this.epoch++;
  }
}

function cut(force: number): number {
  return Math.min(MOST, Math.max(-MOST, force));
}

/** As in umap-learn: fewer cells need more rounds. */
function epochsFor(nCells: number): number {
  return nCells <= 10000 ? 500 : 200;
}
