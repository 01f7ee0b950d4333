/** Small studies and cards, made in memory. */

import type { ModelCard } from "../../src/planning/contract";
import type { Matrix, ObsColumn, Study, Table } from "../../src/reading/contract";
import { MemoryTable } from "../../src/reading/memory_table";
import { factorized } from "../../src/reading/stored_column";
import { sparse } from "../../src/reading/stored_matrix";

export function matrixOf(rows: number[][], nColumns = rows[0]?.length ?? 0): Matrix {
  return {
    nCells: rows.length,
    nColumns,
    rows: (from, to) => sparse(rows.slice(from, to).flat(), to - from, nColumns),
  };
}

export interface Made {
  genes?: string[];
  layers?: Record<string, number[][]>;
  var?: Record<string, string[]>;
  obs?: Record<string, ObsColumn | string[] | number[]>;
  obsm?: Record<string, { rows: number[][]; names: string[] | null }>;
  chooseNames?: boolean;
}

const COUNTS = [
  [1, 0, 2, 3],
  [0, 5, 1, 1],
  [4, 1, 0, 7],
];

/** A table of three cells and four genes, with what is given in the place of what it has otherwise. */
export function tableOf(made: Made = {}): Table {
  const layers = made.layers ?? { X: COUNTS };
  const matrices = new Map(Object.entries(layers).map(([name, rows]) => [name, matrixOf(rows)]));
  const [first] = matrices.values();
  const obs = Object.entries(made.obs ?? {}).map(([name, column]) => ({ name, column: columnOf(column) }));
  const base = new MemoryTable({
    title: "the file",
    matrix: first,
    varNames: made.genes ?? ["CD3E", "MS4A1", "LYZ", "NKG7"],
    var: Object.entries(made.var ?? {}).map(([name, texts]) => ({ name, texts })),
    cellIds: Array.from({ length: first.nCells }, (_, cell) => `cell${cell}`),
    obs,
    chooseNames: made.chooseNames ?? false,
  });
  const obsm = new Map(
    Object.entries(made.obsm ?? {}).map(([key, { rows, names }]) => [key, { matrix: matrixOf(rows), names }]),
  );
  return Object.assign(Object.create(base) as Table, {
    layers: Object.keys(layers),
    matrix: (layer: string) => matrices.get(layer),
    obsm: [...obsm.keys()],
    obsmMatrix: (key: string) => obsm.get(key),
  });
}

function columnOf(column: ObsColumn | string[] | number[]): ObsColumn {
  if (!Array.isArray(column)) {
    return column;
  }
  return typeof column[0] === "string"
    ? factorized(column as string[])
    : { kind: "numbers", values: Float64Array.from(column as number[]), whole: true };
}

export function studyOf(made: Made = {}, proteins: Table | null = null): Study {
  return { fileName: "cells.h5ad", format: "h5ad", genes: tableOf(made), proteins, turned: null, close: () => {} };
}

/** A model of four genes that takes nothing else. */
export function cardOf(card: Partial<ModelCard> = {}): ModelCard {
  return {
    genes: ["LYZ", "CD3E", "GNLY", "MS4A1"],
    proteins: [],
    batch: null,
    categorical_covariates: [],
    continuous_covariates: [],
    encode_covariates: true,
    ...card,
  };
}
