/** The files that make_files.py wrote, and what Python found in them. */

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import type { Matrix, ObsColumn, Table } from "../../src/reading/contract";

const FOLDER = new URL("./files/", import.meta.url);

export function bytesOf(name: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(gunzipSync(readFileSync(new URL(`${name}.gz`, FOLDER))));
}

/** What Python found in each. */
export const expected = JSON.parse(new TextDecoder().decode(bytesOf("expected.json")));

/** A file as it is dropped; `as`: under another name. */
export function fileOf(name: string, as = name): File {
  return new File([bytesOf(name)], as);
}

export function textFile(name: string, text: string): File {
  return new File([text], name);
}

/** All rows of a matrix, read in pieces that do not divide it evenly. */
export function dense(matrix: Matrix, step = 5): number[][] {
  const found: number[][] = [];
  for (let from = 0; from < matrix.nCells; from += step) {
    const { indptr, indices, data, nColumns } = matrix.rows(from, Math.min(from + step, matrix.nCells));
    for (let row = 0; row + 1 < indptr.length; row++) {
      const values = new Array<number>(nColumns).fill(0);
      for (let at = indptr[row]; at < indptr[row + 1]; at++) {
        values[indices[at]] += data[at];
      }
      found.push(values);
    }
  }
  return found;
}

/** A column cell by cell, as Python's JSON has it. */
export function labels(column: ObsColumn): (string | number | boolean | null)[] {
  return column.kind === "numbers"
    ? Array.from(column.values, (value) => (Number.isNaN(value) ? null : value))
    : Array.from(column.codes, (code) => (code < 0 ? null : column.categories[code]));
}

/** A table as `make_files.py` writes one down. */
export function found(table: Table) {
  const each = <T>(names: readonly string[], read: (name: string) => T) =>
    Object.fromEntries(names.map((name) => [name, read(name)]));
  return {
    cells: table.cellIds(),
    genes: table.varNames("X"),
    layers: each(table.layers, (layer) => dense(table.matrix(layer))),
    obs: each(table.obs, (name) => labels(table.obsColumn(name))),
    obsm: each(table.obsm, (key) => dense(table.obsmMatrix(key).matrix)),
  };
}
