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
    const before = this.kept !== null && from >= this.kept.from && from < this.kept.to ? this.kept : null;
    if (before !== null && to <= before.to) {
      return before.values.slice((from - before.from) * this.width, (to - before.from) * this.width);
    }
    const start = before?.to ?? Math.floor(from / this.chunkRows) * this.chunkRows;
    const end = Math.min(Math.ceil(to / this.chunkRows) * this.chunkRows, this.nRows);
    const unpacked = this.file.numbers(this.path, start, end);
    const last = Math.max(start, Math.floor((end - 1) / this.chunkRows) * this.chunkRows);
    this.kept = { from: last, to: end, values: unpacked.slice((last - start) * this.width) };
    if (before === null) {
      return unpacked.slice((from - start) * this.width, (to - start) * this.width);
    }
    const known = before.values.subarray((from - before.from) * this.width);
    const added = unpacked.subarray(0, (to - start) * this.width);
    // 64-bit integers come in one of two types, by their size.
    const type = known.constructor === added.constructor ? known.constructor : Float64Array;
    const values = new (type as Float64ArrayConstructor)(known.length + added.length);
    values.set(known);
    values.set(added, known.length);
    return values;
  }
}
