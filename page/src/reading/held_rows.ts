/** Matrices that are held in memory, as the file does not have them by cells: narrow arrays, one entry after another. */

import { type CsrRows, InputError, type Matrix } from "./contract";

/** Bytes of arrays that a matrix may take in memory. */
export const MOST_BYTES = 600_000_000;

/** Values in 32 bits, until one comes that does not fit. */
export class Values {
  array: Float32Array | Float64Array;

  constructor(length: number) {
    this.array = new Float32Array(length);
  }

  set(at: number, value: number): void {
    this.array[at] = value;
    if (this.array[at] !== value && !Number.isNaN(value)) {
      this.array = Float64Array.from(this.array);
      this.array[at] = value;
    }
  }
}

export type Columns = Uint16Array | Int32Array;

/** Positions of columns, in 16 bits where they fit. */
export function columnsOf(length: number, nColumns: number): Columns {
  return nColumns <= 1 << 16 ? new Uint16Array(length) : new Int32Array(length);
}

/** What entries of a matrix take in memory. */
export function bytesOf(nEntries: number, nColumns: number): number {
  return nEntries * (4 + (nColumns <= 1 << 16 ? 2 : 4));
}

/** Refuse a matrix that a page cannot hold. */
export function checkSize(title: string, nEntries: number, nColumns: number, advice: string): void {
  checkBytes(title, bytesOf(nEntries, nColumns), advice);
}

/** Refuse a data set whose arrays and names would take too much. */
export function checkBytes(title: string, bytes: number, advice: string): void {
  if (bytes > MOST_BYTES) {
    throw new InputError(
      `${title} would take ${(bytes / 1e9).toFixed(1)} GB of memory, as it does not store its counts cell by cell; ${advice}.`,
    );
  }
}

/** Compressed sparse rows in memory. */
export class HeldRows implements Matrix {
  readonly nCells: number;

  constructor(
    private readonly indptr: Float64Array,
    private readonly columns: Columns,
    private readonly data: Float32Array | Float64Array,
    readonly nColumns: number,
  ) {
    this.nCells = indptr.length - 1;
  }

  rows(from: number, to: number): CsrRows {
    const first = this.indptr[from];
    const last = this.indptr[to];
    return {
      indptr: Int32Array.from(this.indptr.subarray(from, to + 1), (place) => place - first),
      indices: Int32Array.from(this.columns.subarray(first, last)),
      data: this.data.slice(first, last),
      nColumns: this.nColumns,
    };
  }

  /** Its columns as rows. */
  turned(): HeldRows {
    const { indptr, columns, data, nCells, nColumns } = this;
    const ends = new Float64Array(nColumns + 1);
    for (const column of columns) {
      ends[column + 1] += 1;
    }
    for (let column = 0; column < nColumns; column++) {
      ends[column + 1] += ends[column];
    }
    const next = ends.slice(0, nColumns);
    const cells = columnsOf(columns.length, nCells);
    const values = data instanceof Float32Array ? new Float32Array(data.length) : new Float64Array(data.length);
    for (let cell = 0; cell < nCells; cell++) {
      for (let at = indptr[cell]; at < indptr[cell + 1]; at++) {
        const place = next[columns[at]]++;
        cells[place] = cell;
        values[place] = data[at];
      }
    }
    return new HeldRows(ends, cells, values, nCells);
  }
}

/** The columns of a matrix as its rows, turned round when rows are first asked for. */
export class TurnedRows implements Matrix {
  readonly nCells: number;
  readonly nColumns: number;
  private held: HeldRows | null = null;

  constructor(private readonly source: HeldRows) {
    this.nCells = source.nColumns;
    this.nColumns = source.nCells;
  }

  rows(from: number, to: number): CsrRows {
    this.held ??= this.source.turned();
    return this.held.rows(from, to);
  }
}
