/** What a dropped file holds, whatever its format; everything here lives in the worker. */

import type { LabelValue } from "../service/types";

/** Rows of a matrix as compressed sparse rows. */
export interface CsrRows {
  /** [rows + 1], from 0: where each row's entries begin. */
  indptr: Int32Array;
  /** [entries]: column of each entry, in any order within a row. */
  indices: Int32Array;
  /** [entries]: values, as exact as the file has them. */
  data: Float32Array | Float64Array;
  nColumns: number;
}

/** A matrix of the file: cells by columns. */
export interface Matrix {
  readonly nCells: number;
  readonly nColumns: number;
  /** Cells `from` to `to` (exclusive), read from the file each time: never the whole, where the file allows it. */
  rows(from: number, to: number): CsrRows;
}

/** A column of `obs` of labels. */
export interface CategoryColumn {
  kind: "categories";
  /** The labels, in their order in the file; of integers, floats and booleans as such. */
  categories: LabelValue[];
  /** [cells]: position in `categories`; -1: the cell has none. */
  codes: Int32Array;
}

/** A column of `obs` of numbers. */
export interface NumberColumn {
  kind: "numbers";
  /** [cells]; NaN: the cell has none. */
  values: Float64Array;
  /** Whether the file has them as integers. */
  whole: boolean;
}

export type ObsColumn = CategoryColumn | NumberColumn;

/** A table of cells by genes (or proteins): an AnnData, a modality, a 10x file, a sheet. */
export interface Table {
  /** What messages call it: `the file`, `mod/rna`. */
  readonly title: string;
  readonly nCells: number;
  /** Places of matrices over the same columns: `X`, names of layers, `raw` (whose columns are its own). */
  readonly layers: readonly string[];
  matrix(layer: string): Matrix;
  /** Names of the columns of a layer. */
  varNames(layer: string): string[];
  /** Columns of `var` of text (or categories), for names such as gene ids, and for `feature_types`. */
  varColumns(layer: string): string[];
  varColumn(layer: string, name: string): string[];
  /** Whether the names of the columns are not the file's own choice, as in 10x files (symbols or ids). */
  readonly chooseNames: boolean;
  /** Matrices of `obsm` that may hold proteins, with the names of their columns where the file has them. */
  readonly obsm: readonly string[];
  obsmMatrix(key: string): { matrix: Matrix; names: string[] | null };
  /** Names of the cells. */
  cellIds(): string[];
  readonly obs: readonly string[];
  obsColumn(name: string): ObsColumn;
}

/** An opened file, or several dropped together. */
export interface Study {
  /** Of the file, or of the first of several. */
  readonly fileName: string;
  readonly format: "h5ad" | "h5mu" | "10x h5" | "matrix market" | "csv";
  readonly genes: Table;
  /** The modality of proteins, where it is one of its own. */
  readonly proteins: Table | null;
  /** Of a sheet, which does not tell: the same with cells and columns exchanged. `planning/turned.ts` chooses by the model. */
  readonly turned: Table | null;
  /** Give up what it holds of memory and files. */
  close(): void;
}

/** What is dropped cannot be read or used; the message is one or two sentences for a biologist, and says what to do. */
export class InputError extends Error {
  override readonly name = "InputError";
}
