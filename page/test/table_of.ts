import type { Table } from "../src/reading/contract";

/** A table that knows the names of its cells and nothing else. */
export function tableOf(nCells: number): Table {
  const nothing = () => {
    throw new Error("not asked for here");
  };
  return {
    title: "the file",
    nCells,
    layers: ["X"],
    matrix: nothing,
    varNames: nothing,
    varColumns: nothing,
    varColumn: nothing,
    chooseNames: false,
    obsm: [],
    obsmMatrix: nothing,
    cellIds: () => Array.from({ length: nCells }, (_, cell) => `cell-${cell}`),
    obs: [],
    obsColumn: nothing,
  };
}
