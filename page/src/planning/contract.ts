/** How a study meets a model: what is found by itself, what a person has to choose, and what will be sent. */

import type { Matrix } from "../reading/contract";

/** What a number matrix looks like, as in the client. */
export type NumberKind =
  | "counts"
  | "fractions"
  | "normalised"
  | "log-normalised"
  | "scaled"
  | "negative"
  | "not finite";

/** What the person chose; null: what is found by itself. Plain data: it crosses from the page to the worker. */
export interface Choice {
  /** Where the raw counts are. */
  layer: string | null;
  /** `var` column with the names of the genes; "" : the names of the columns themselves. */
  geneColumn: string | null;
  /** Key of `obsm` with the proteins, "modality", "columns" (beside the genes) or "none". */
  proteins: string | null;
  /** By "batch" or the covariate's key: a column of `obs`, or one value for all cells. */
  labels: Record<string, { column: string } | { value: string | number | boolean } | null>;
  /** Take counts with fractions (as after removing ambient counts). */
  allowNonInteger: boolean;
}

/** A field to choose on the page. */
export interface Question {
  /** "layer", "geneColumn", "proteins", "batch", or "covariate:KEY". */
  id: string;
  /** What it is, for a biologist. */
  label: string;
  /** One sentence of help; empty: none. */
  help: string;
  options: Option[];
  /** The option's value that is taken by itself; null: the person must choose. */
  found: string | null;
  /** Why, or why nothing could be taken. */
  why: string;
}

export interface Option {
  /** Of the form's field; for labels `column:NAME` or `value:JSON`. */
  value: string;
  label: string;
  /** Why it is no good; empty: it is. */
  problem: string;
}

/** Cells by the labels of the model. */
export type Labels =
  | { kind: "one"; value: string | number | boolean }
  | { kind: "each"; categories: (string | number | boolean)[]; codes: Int32Array };

/** What will be sent; lives in the worker. */
export interface Plan {
  nCells: number;
  /** Where the counts are and why, half a sentence. */
  counts: string;
  genes: PlannedColumns;
  /** null: none are sent. */
  proteins: PlannedColumns | null;
  batch: Labels | null;
  categorical: Record<string, Labels>;
  continuous: Record<string, { kind: "one"; value: number } | { kind: "each"; values: Float64Array }>;
  allowNonInteger: boolean;
}

export interface PlannedColumns {
  matrix: Matrix;
  /** [columns of the matrix]: position among `names`; -1: a column that is not sent. */
  target: Int32Array;
  /** Names of the columns that are sent: those that the model has, in its order. */
  names: string[];
  /** Names of the file that the model lacks: sent without counts when the file is checked, so that the service tells. */
  extra: string[];
}
