/** How a study meets a model: what is found by itself, what a person has to choose, and what will be sent. */

import type { Matrix, Table } from "../reading/contract";
import type { Card, LabelValue } from "../service/types";

/** What planning needs of a model's card. */
export type ModelCard = Pick<
  Card,
  "genes" | "proteins" | "batch" | "categorical_covariates" | "continuous_covariates" | "encode_covariates"
>;

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
  /** By the question's id: a column of `obs`, or one value for all cells. */
  labels: Record<string, ChosenLabel | null>;
  /** Take counts with fractions (as after removing ambient counts). */
  allowNonInteger: boolean;
}

/** Nothing chosen: everything is found by itself. */
export const NO_CHOICE: Choice = { layer: null, geneColumn: null, proteins: null, labels: {}, allowNonInteger: false };

export type ChosenLabel = { column: string } | { value: LabelValue };

/** What was chosen for a question about labels; null: nothing. */
export function chosenLabel(choice: Choice, id: string): ChosenLabel | null {
  // A covariate may be called as something that every object has.
  return Object.hasOwn(choice.labels, id) ? choice.labels[id] : null;
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
  /** A number may be typed instead of an option, and is taken as `value:NUMBER`. */
  typed?: "number";
}

export interface Option {
  /** Of the form's field; for labels `column:NAME` or `value:JSON`. */
  value: string;
  label: string;
  /** Why it is no good; empty: it is. */
  problem: string;
}

/** Cells by the labels of the model. */
export type Labels = { kind: "one"; value: LabelValue } | { kind: "each"; categories: LabelValue[]; codes: Int32Array };

/** What will be sent; lives in the worker. */
export interface Plan {
  /** The table that knows the cells: their names and columns of `obs`. */
  table: Table;
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
  /** Sentences on why genes or proteins may be missing, for a person to decide; empty: nothing is known. */
  hints: string[];
}

export interface PlannedColumns {
  matrix: Matrix;
  /** What messages call it. */
  place: string;
  /** [columns of the matrix]: position among `names`; -1: a column that is not sent. */
  target: Int32Array;
  /** Names of the columns that are sent: those that the model has, in its order. */
  names: string[];
  /** Names of the file that the model lacks: sent without counts when the file is checked, so that the service tells. */
  extra: string[];
}
