/** Finds the point next to a place. */

import KDBush from "kdbush";

/** A k-d tree of the points that have a place, as KDBush stores it: slow to make for many, so a worker does. */
export function indexed(points: Float32Array): ArrayBuffer {
  const cells = placed(points);
  const tree = new KDBush(cells.length, 64, Float32Array);
  for (const cell of cells) tree.add(points[2 * cell], points[2 * cell + 1]);
  return tree.finish().data as ArrayBuffer;
}

/** The cells that have a place. */
function placed(points: Float32Array): Uint32Array {
  const cells = new Uint32Array(points.length / 2);
  let n = 0;
  for (let cell = 0; cell < cells.length; cell++) {
    if (Number.isFinite(points[2 * cell]) && Number.isFinite(points[2 * cell + 1])) cells[n++] = cell;
  }
  return cells.subarray(0, n);
}

export class Nearest {
  private readonly tree: KDBush;
  /** By number in the tree: the cell. */
  private readonly cells: Uint32Array;

  /** `index` as `indexed` makes it of the same points. */
  constructor(
    private readonly points: Float32Array,
    index: ArrayBuffer = indexed(points),
  ) {
    this.cells = placed(points);
    this.tree = KDBush.from(index);
  }

  /** The cell nearest to (x, y), at most `radius` away; null: none is. */
  at(x: number, y: number, radius: number): number | null {
    let best: number | null = null;
    let least = Number.POSITIVE_INFINITY;
    for (const found of this.cells.length > 0 ? this.tree.within(x, y, radius) : []) {
      const cell = this.cells[found];
      const distance = (this.points[2 * cell] - x) ** 2 + (this.points[2 * cell + 1] - y) ** 2;
      if (distance < least) [best, least] = [cell, distance];
    }
    return best;
  }

  /** The nearest cell in a quarter of the plane: right (1, 0), up (0, 1) and so on; null: there is none. */
  towards(from: number, right: number, up: number): number | null {
    const x = this.points[2 * from];
    const y = this.points[2 * from + 1];
    let best: number | null = null;
    let least = Number.POSITIVE_INFINITY;
    for (const cell of this.cells) {
      const dx = this.points[2 * cell] - x;
      const dy = this.points[2 * cell + 1] - y;
      const along = dx * right + dy * up;
      const across = Math.abs(dx * up) + Math.abs(dy * right);
      if (along <= 0 || across > along) continue;
      const distance = dx * dx + dy * dy;
      if (distance < least) [best, least] = [cell, distance];
    }
    return best;
  }
}
