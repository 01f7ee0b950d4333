/** A Matrix Market file of counts, read byte by byte: features by cells, one entry a line. */

import { InputError } from "./contract";
import { bytesOf, type Columns, checkBytes, columnsOf, HeldRows, Values } from "./held_rows";
import type { Sink } from "./unpack";

const NEWLINE = 10;
const PERCENT = 37;
const MOST_LINE_BYTES = 1 << 20;

/** Takes the bytes of a `matrix.mtx`; after its end `matrix` is the counts, one row a cell. */
export class MarketReader implements Sink {
  matrix: HeldRows | null = null;
  private rest = new Uint8Array(0);
  private entries: EntryList | null = null;
  private isFirstLine = true;

  constructor(private readonly name: string) {}

  push(piece: Uint8Array): void {
    let bytes = piece;
    if (this.rest.length > 0) {
      bytes = new Uint8Array(this.rest.length + piece.length);
      bytes.set(this.rest);
      bytes.set(piece, this.rest.length);
    }
    const end = bytes.lastIndexOf(NEWLINE) + 1;
    this.lines(bytes.subarray(0, end));
    this.rest = bytes.slice(end);
    if (this.rest.length > MOST_LINE_BYTES) {
      throw this.entries === null
        ? notCounts(this.name)
        : new InputError(`${this.name} is damaged: a line of it does not end; copy or download it anew.`);
    }
  }

  end(): void {
    const last = new Uint8Array(this.rest.length + 1).fill(NEWLINE);
    last.set(this.rest);
    this.lines(last);
    if (this.entries === null) {
      throw notCounts(this.name);
    }
    this.matrix = this.entries.matrix();
  }

  private lines(bytes: Uint8Array): void {
    let at = 0;
    while (this.entries === null && at < bytes.length) {
      const end = bytes.indexOf(NEWLINE, at);
      this.headLine(new TextDecoder().decode(bytes.subarray(at, end)).trim());
      at = end + 1;
    }
    this.entries?.read(bytes.subarray(at));
  }

  private headLine(line: string): void {
    if (this.isFirstLine) {
      const words = line.toLowerCase().split(/\s+/);
      if (words[0] !== "%%matrixmarket" || words[1] !== "matrix" || words[2] !== "coordinate") {
        throw notCounts(this.name);
      }
      if (!["integer", "real"].includes(words[3]) || (words[4] ?? "general") !== "general") {
        throw new InputError(
          `${this.name} is a Matrix Market file of the kind "${words.slice(3).join(" ")}"; counts are general numbers.`,
        );
      }
      this.isFirstLine = false;
    } else if (line !== "" && line.charCodeAt(0) !== PERCENT) {
      const sizes = line.split(/\s+/).map(Number);
      if (sizes.length !== 3 || !sizes.every((size) => Number.isInteger(size) && size >= 0)) {
        throw notCounts(this.name);
      }
      this.entries = new EntryList(this.name, sizes[0], sizes[1], sizes[2]);
    }
  }
}

/** The entries, in the order of the file; most files have them cell by cell, others are sorted at the end. */
class EntryList {
  private readonly columns: Columns;
  private readonly values: Values;
  private readonly counts: Float64Array;
  /** The cell of each entry; null: they come in the order of the cells. */
  private cells: Int32Array | null = null;
  private lastCell = 0;
  private nSeen = 0;

  constructor(
    private readonly name: string,
    private readonly nFeatures: number,
    private readonly nCells: number,
    private readonly nEntries: number,
  ) {
    const advice = 'write it as h5ad: scanpy.read_10x_mtx(folder).write_h5ad("cells.h5ad"), and drop that';
    checkBytes(name, bytesOf(nEntries, nFeatures) + Float64Array.BYTES_PER_ELEMENT * nCells, advice);
    this.columns = columnsOf(nEntries, nFeatures);
    this.values = new Values(nEntries);
    this.counts = new Float64Array(nCells + 1);
  }

  /** Whole lines. */
  read(bytes: Uint8Array): void {
    let at = 0;
    const { length } = bytes;
    while (at < length) {
      let feature = 0;
      let cell = 0;
      let byte = bytes[at];
      while (byte === 32 || byte === 9) byte = bytes[++at];
      if (byte === NEWLINE || byte === 13) {
        at += 1;
        continue;
      }
      for (; byte >= 48 && byte <= 57; byte = bytes[++at]) feature = 10 * feature + byte - 48;
      while (byte === 32 || byte === 9) byte = bytes[++at];
      for (; byte >= 48 && byte <= 57; byte = bytes[++at]) cell = 10 * cell + byte - 48;
      while (byte === 32 || byte === 9) byte = bytes[++at];
      const start = at;
      let value = 0;
      for (; byte >= 48 && byte <= 57; byte = bytes[++at]) value = 10 * value + byte - 48;
      const isWhole = at > start && (byte === NEWLINE || byte === 13);
      while (byte !== NEWLINE) byte = bytes[++at];
      if (!isWhole) {
        value = this.number(bytes.subarray(start, at));
      }
      at += 1;
      this.add(feature - 1, cell - 1, value);
    }
  }

  private number(bytes: Uint8Array): number {
    const text = new TextDecoder().decode(bytes).trim();
    const value = text === "" ? Number.NaN : Number(text);
    if (Number.isNaN(value) && text.toLowerCase() !== "nan") {
      throw new InputError(
        `${this.name} has "${text.slice(0, 40)}" for a count in its entry ${this.nSeen + 1}; copy it anew.`,
      );
    }
    return value;
  }

  private add(feature: number, cell: number, value: number): void {
    if (feature < 0 || feature >= this.nFeatures || cell < 0 || cell >= this.nCells) {
      throw new InputError(
        `${this.name} is damaged: its entry ${this.nSeen + 1} is not within ${this.nFeatures} features and ${this.nCells} cells.`,
      );
    }
    const place = this.nSeen;
    if (place >= this.nEntries) {
      throw new InputError(`${this.name} has more entries than the ${this.nEntries} it announces; copy it anew.`);
    }
    if (cell < this.lastCell && this.cells === null) {
      this.cells = this.cellsSoFar();
    }
    if (this.cells !== null) {
      this.cells[place] = cell;
    }
    this.lastCell = cell;
    this.columns[place] = feature;
    this.values.set(place, value);
    this.counts[cell + 1] += 1;
    this.nSeen += 1;
  }

  private cellsSoFar(): Int32Array {
    const cells = new Int32Array(this.nEntries);
    let place = 0;
    for (let cell = 0; cell < this.nCells; cell++) {
      const stop = place + this.counts[cell + 1];
      cells.fill(cell, place, stop);
      place = stop;
    }
    return cells;
  }

  matrix(): HeldRows {
    if (this.nSeen !== this.nEntries) {
      throw new InputError(
        `${this.name} is cut short: ${this.nSeen} of ${this.nEntries} entries are there; copy it anew.`,
      );
    }
    const indptr = this.counts;
    for (let cell = 0; cell < this.nCells; cell++) {
      indptr[cell + 1] += indptr[cell];
    }
    const { cells, columns, nFeatures } = this;
    const values = this.values.array;
    if (cells === null) {
      return new HeldRows(indptr, columns, values, nFeatures);
    }
    const next = indptr.slice(0, this.nCells);
    const sorted = columnsOf(this.nEntries, nFeatures);
    const sortedValues = values.slice();
    for (let at = 0; at < this.nEntries; at++) {
      const place = next[cells[at]]++;
      sorted[place] = columns[at];
      sortedValues[place] = values[at];
    }
    return new HeldRows(indptr, sorted, sortedValues, nFeatures);
  }
}

function notCounts(name: string): InputError {
  return new InputError(`${name} does not begin with "%%MatrixMarket matrix coordinate"; is it a matrix of counts?`);
}
