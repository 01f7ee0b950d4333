/** The request for a plan's cells as a person could send it by hand: `/v1`'s JSON. */

import type { Labels, Plan, PlannedColumns } from "../planning/contract";
import { sentRows } from "../service/message";
import type { Limits } from "../service/types";

/** Text grows to some twelve characters an entry, and a body above the limit is refused. */
const CHARACTERS_AN_ENTRY = 14;

export interface RequestFile {
  blob: Blob;
  /** How many of the cells it holds: those from the first on that one request may hold. */
  nCells: number;
}

export function requestJson(plan: Plan, cellIds: readonly string[], limits: Limits): RequestFile {
  const nCells = cellsOfRequest(plan, limits);
  const body: Record<string, unknown> = {
    cells: cellIds.slice(0, nCells),
    genes: plan.genes.names,
    gene_counts: counts(plan, plan.genes, nCells),
  };
  if (plan.proteins) {
    body.proteins = plan.proteins.names;
    body.protein_counts = counts(plan, plan.proteins, nCells);
  }
  if (plan.batch) body.batch = labels(plan.batch, nCells);
  const categorical = Object.entries(plan.categorical).map(([key, each]) => [key, labels(each, nCells)]);
  if (categorical.length > 0) body.categorical_covariates = Object.fromEntries(categorical);
  const continuous = Object.entries(plan.continuous).map(([key, each]) => [
    key,
    each.kind === "one" ? each.value : Array.from(each.values.subarray(0, nCells)),
  ]);
  if (continuous.length > 0) body.continuous_covariates = Object.fromEntries(continuous);
  if (plan.allowNonInteger) body.allow_non_integer = true;
  body.outputs = ["qz", "z", "library"];
  return { blob: new Blob([JSON.stringify(body)], { type: "application/json" }), nCells };
}

/** How many cells, from the first on, one request surely holds. */
export function cellsOfRequest(plan: Plan, limits: Limits): number {
  const looked = Math.min(plan.nCells, 256);
  const nEntries = sentRows(plan, plan.genes, 0, looked).data.length + looked * (plan.proteins?.names.length ?? 0);
  const characters = Math.max(1, (nEntries / Math.max(1, looked)) * CHARACTERS_AN_ENTRY);
  const fit = Math.floor(limits.max_request_bytes / 2 / characters);
  return Math.max(1, Math.min(plan.nCells, limits.max_request_cells, fit));
}

function counts(plan: Plan, columns: PlannedColumns, nCells: number) {
  const rows = sentRows(plan, columns, 0, nCells);
  return { indptr: Array.from(rows.indptr), indices: Array.from(rows.indices), data: Array.from(rows.data) };
}

function labels(given: Labels, nCells: number) {
  if (given.kind === "one") return given.value;
  return Array.from(given.codes.subarray(0, nCells), (code) => given.categories[code]);
}
