/** Finds the point next to a place. */

import KDBush from "kdbush";

export class Nearest {
  private readonly tree: KDBush | null;
  /** By number in the tree: the cell. */
  private readonly cells: Uint32Array;

  constructor(private readonly points: Float32Array) {
    const drawn: number[] = [];
    for (let cell = 0; cell < points.length / 2; cell++) {
      if (Number.isFinite(points[2 * cell]) && Number.isFinite(points[2 * cell + 1])) drawn.push(cell);
    }
    this.cells = Uint32Array.from(drawn);
    this.tree = drawn.length > 0 ? new KDBush(drawn.length, 64, Float32Array) : null;
    for (const cell of drawn) this.tree?.add(points[2 * cell], points[2 * cell + 1]);
    this.tree?.finish();
  }

  /** The cell nearest to (x, y), at most `radius` away; null: none is. */
  at(x: number, y: number, radius: number): number | null {
    let best: number | null = null;
    let least = Number.POSITIVE_INFINITY;
    for (const found of this.tree?.within(x, y, radius) ?? []) {
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
