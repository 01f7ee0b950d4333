/** Matrices of an HDF5 file: compressed rows, compressed columns, and dense ones. */

import { type CsrRows, InputError, type Matrix } from "./contract";
import type { H5File } from "./h5";
import { type Columns, checkSize, columnsOf, HeldRows, Values } from "./held_rows";
import { StoredRows } from "./stored_rows";

const ENTRIES_AT_ONCE = 1 << 20;
const MOST_EXACT = 1 << 24;

/** Integers that floats of 32 bits hold become those; nothing is rounded. */
function asFloats(values: ArrayLike<number>): Float32Array | Float64Array {
  if (values instanceof Float32Array || values instanceof Float64Array) {
    return values instanceof Float64Array && fits(values) ? new Float32Array(values) : values;
  }
  return fits(values) ? new Float32Array(values) : new Float64Array(values);
}

function fits(values: ArrayLike<number>): boolean {
  if (values instanceof Int8Array || values instanceof Uint8Array || values instanceof Int16Array) {
    return true;
  }
  for (let at = 0; at < values.length; at++) {
    const value = values[at];
    if (!(value >= -MOST_EXACT && value <= MOST_EXACT) || value !== Math.fround(value)) {
      return false;
    }
  }
  return true;
}

/** Compressed rows, one a cell; the places of the rows are held, their entries are read. */
export class StoredCsr implements Matrix {
  private readonly indptr: ArrayLike<number>;
  private readonly indices: StoredRows;
  private readonly data: StoredRows;

  constructor(
    private readonly file: H5File,
    private readonly path: string,
    readonly nCells: number,
    readonly nColumns: number,
  ) {
    this.indices = new StoredRows(file, `${path}/indices`);
    this.data = new StoredRows(file, `${path}/data`);
    this.indptr = checkedIndptr(file, path, nCells, Math.min(this.indices.nRows, this.data.nRows));
  }

  rows(from: number, to: number): CsrRows {
    const first = this.indptr[from];
    const last = this.indptr[to];
    const indptr = new Int32Array(to - from + 1);
    for (let row = from; row <= to; row++) {
      indptr[row - from] = this.indptr[row] - first;
    }
    const stored = this.indices.read(first, last);
    const indices = stored instanceof Int32Array ? stored : new Int32Array(stored);
    checkColumns(this.file, this.path, indices, this.nColumns);
    return { indptr, indices, data: asFloats(this.data.read(first, last)), nColumns: this.nColumns };
  }
}

/** Compressed columns, which have no rows to read: turned round in memory when rows are first asked for. */
export class StoredCsc implements Matrix {
  private held: HeldRows | null = null;

  constructor(
    private readonly file: H5File,
    private readonly path: string,
    readonly nCells: number,
    readonly nColumns: number,
    /** The one of the file that is held: there is room for one. */
    private readonly slot: { matrix: StoredCsc | null },
  ) {}

  rows(from: number, to: number): CsrRows {
    if (this.held === null) {
      if (this.slot.matrix !== null) {
        this.slot.matrix.held = null;
      }
      this.slot.matrix = this;
      this.held = this.turned();
    }
    return this.held.rows(from, to);
  }

  private turned(): HeldRows {
    const { file, path, nCells, nColumns } = this;
    const stored = new StoredRows(file, `${path}/indices`);
    const data = new StoredRows(file, `${path}/data`);
    const ends = checkedIndptr(file, path, nColumns, Math.min(stored.nRows, data.nRows));
    const nEntries = ends[nColumns];
    const advice =
      'write it with compressed rows: adata.X = adata.X.tocsr(); adata.write_h5ad("new.h5ad"), or encode it by the Python client';
    checkSize(`${path} of ${file.name}`, nEntries, nColumns, advice);
    const indptr = new Float64Array(nCells + 1);
    for (let start = 0; start < nEntries; start += ENTRIES_AT_ONCE) {
      const cells = new Int32Array(stored.read(start, Math.min(start + ENTRIES_AT_ONCE, nEntries)));
      checkColumns(file, path, cells, nCells);
      for (let at = 0; at < cells.length; at++) {
        indptr[cells[at] + 1] += 1;
      }
    }
    for (let cell = 0; cell < nCells; cell++) {
      indptr[cell + 1] += indptr[cell];
    }
    const next = indptr.slice(0, nCells);
    const columns: Columns = columnsOf(nEntries, nColumns);
    const values = new Values(nEntries);
    let column = 0;
    for (let start = 0; start < nEntries; start += ENTRIES_AT_ONCE) {
      const stop = Math.min(start + ENTRIES_AT_ONCE, nEntries);
      const cells = stored.read(start, stop);
      const numbers = data.read(start, stop);
      for (let at = start; at < stop; at++) {
        while (ends[column + 1] <= at) {
          column += 1;
        }
        const place = next[cells[at - start]]++;
        columns[place] = column;
        values.set(place, numbers[at - start]);
      }
    }
    return new HeldRows(indptr, columns, values.array, nColumns);
  }
}

/** A dense matrix, of which zeros are left out when it is read. */
export class StoredDense implements Matrix {
  readonly nCells: number;
  readonly nColumns: number;
  private readonly stored: StoredRows;

  constructor(file: H5File, path: string) {
    this.stored = new StoredRows(file, path);
    this.nCells = this.stored.nRows;
    this.nColumns = this.stored.width;
  }

  rows(from: number, to: number): CsrRows {
    return sparse(this.stored.read(from, to), to - from, this.nColumns);
  }
}

/** The columns of a data frame. */
export class StoredFrame implements Matrix {
  readonly nColumns: number;
  private readonly columns: StoredRows[];

  constructor(
    file: H5File,
    paths: string[],
    readonly nCells: number,
  ) {
    this.columns = paths.map((path) => new StoredRows(file, path));
    this.nColumns = paths.length;
  }

  rows(from: number, to: number): CsrRows {
    const dense = new Float64Array((to - from) * this.nColumns);
    this.columns.forEach((column, position) => {
      const values = column.read(from, to);
      for (let row = 0; row < to - from; row++) {
        dense[row * this.nColumns + position] = values[row];
      }
    });
    return sparse(dense, to - from, this.nColumns);
  }
}

/** Dense rows without their zeros. */
export function sparse(dense: ArrayLike<number>, nRows: number, nColumns: number): CsrRows {
  let nEntries = 0;
  for (let at = 0; at < dense.length; at++) {
    nEntries += dense[at] !== 0 ? 1 : 0;
  }
  const indptr = new Int32Array(nRows + 1);
  const indices = new Int32Array(nEntries);
  const data = new Float64Array(nEntries);
  let place = 0;
  for (let row = 0; row < nRows; row++) {
    const start = row * nColumns;
    for (let column = 0; column < nColumns; column++) {
      const value = dense[start + column];
      if (value !== 0) {
        indices[place] = column;
        data[place] = value;
        place += 1;
      }
    }
    indptr[row + 1] = place;
  }
  return { indptr, indices, data: asFloats(data), nColumns };
}

function checkedIndptr(file: H5File, path: string, nLines: number, nEntries: number): ArrayLike<number> {
  const indptr = file.numbers(`${path}/indptr`);
  let isRising = indptr.length === nLines + 1 && indptr[0] === 0 && indptr[nLines] <= nEntries;
  for (let line = 0; isRising && line < nLines; line++) {
    isRising = indptr[line] <= indptr[line + 1];
  }
  if (!isRising) {
    throw new InputError(`${file.name} is damaged: the index of the sparse matrix ${path} is wrong; get a new copy.`);
  }
  return indptr;
}

function checkColumns(file: H5File, path: string, indices: Int32Array, nColumns: number): void {
  for (let at = 0; at < indices.length; at++) {
    // As an unsigned number, one below zero is beyond all columns.
    if (indices[at] >>> 0 >= nColumns) {
      throw new InputError(
        `${file.name} is damaged: an entry of ${path} stands outside of its ${nColumns} columns; get a new copy.`,
      );
    }
  }
}
