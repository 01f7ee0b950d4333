/** Rows of a dataset, each stored piece of which is unpacked once when rows are read in their order. */

import type { H5File } from "./h5";

type NumberArray = ReturnType<H5File["numbers"]>;

/** Rows of a dataset of one or two dimensions. HDF5's own cache is lost between reads, so the last pieces are kept. */
export class StoredRows {
  readonly nRows: number;
  /** Numbers of one row. */
  readonly width: number;
  private readonly chunkRows: number | null;
  private kept: { from: number; to: number; values: NumberArray } | null = null;

  constructor(
    private readonly file: H5File,
    private readonly path: string,
  ) {
    const { shape, chunkRows } = file.shape(path);
    this.nRows = shape[0] ?? 0;
    this.width = shape[1] ?? 1;
    this.chunkRows = chunkRows;
  }

  /** The numbers of rows `from` to `to`, the caller's own. */
  read(from: number, to: number): NumberArray {
    if (this.chunkRows === null || to <= from) {
      return this.file.numbers(this.path, from, to);
    }
    if (this.kept === null || from < this.kept.from || to > this.kept.to) {
      this.kept = this.unpacked(from, to, this.chunkRows);
    }
    const { from: first, values } = this.kept;
    return values.slice((from - first) * this.width, (to - first) * this.width);
  }

  private unpacked(from: number, to: number, chunkRows: number): { from: number; to: number; values: NumberArray } {
    const end = Math.min(Math.ceil(to / chunkRows) * chunkRows, this.nRows);
    const before = this.kept;
    if (before === null || from < before.from || from >= before.to) {
      const first = Math.floor(from / chunkRows) * chunkRows;
      return { from: first, to: end, values: this.file.numbers(this.path, first, end) };
    }
    const known = before.values.subarray((from - before.from) * this.width);
    const added = this.file.numbers(this.path, before.to, end);
    // 64-bit integers come in one of two types, by their size.
    const type = known.constructor === added.constructor ? added.constructor : Float64Array;
    const values = new (type as Float64ArrayConstructor)(known.length + added.length);
    values.set(known);
    values.set(added, known.length);
    return { from, to: end, values };
  }
}
