/** Refuses rows that are no counts, naming the first cell: the sample that told the kind of numbers does not see all. */

import { type CsrRows, InputError, type Table } from "../reading/contract";

/** Look at rows before they are sent. `firstCell` is the index of the first of them, `place` what messages call the matrix. */
export function checkRows(
  rows: CsrRows,
  firstCell: number,
  table: Table,
  place: string,
  allowNonInteger: boolean,
): void {
  const { data } = rows;
  for (let at = 0; at < data.length; at++) {
    const value = data[at];
    // A NaN fails the first comparison.
    if (!(value >= 0 && value < Number.POSITIVE_INFINITY) || (!allowNonInteger && value !== Math.floor(value))) {
      throw new InputError(problem(value, table.cellIds()[firstCell + rowOf(rows.indptr, at)], place));
    }
  }
}

function rowOf(indptr: Int32Array, entry: number): number {
  let row = 0;
  while (indptr[row + 1] <= entry) {
    row += 1;
  }
  return row;
}

function problem(value: number, cell: string, place: string): string {
  if (!Number.isFinite(value)) {
    return (
      `${place} has a number that is missing or not finite in the cell ${cell}; where something was not measured put 0, and ` +
      "leave out cells that are broken."
    );
  }
  if (value < 0) {
    return `${place} has a number below zero in the cell ${cell}, so it is scaled or corrected and not counts; choose the raw counts.`;
  }
  return (
    `${place} has ${Number(value.toPrecision(6))}, no whole number, in the cell ${cell}; if a program that removes ambient counts wrote ` +
    'it, tick "Take counts with fractions".'
  );
}
