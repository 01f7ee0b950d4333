/** Which way round a sheet is: it does not tell whether its lines are cells or genes, but its names do. */

import type { Study, Table } from "../reading/contract";
import type { ModelCard } from "./contract";

/** The study with the cells as its rows, as the model's names tell; other files tell by themselves. */
export function turnedToFit(study: Study, card: ModelCard): Study {
  if (study.turned === null) {
    return study;
  }
  const isTurned = nKnown(study.turned, card) > nKnown(study.genes, card);
  return isTurned ? { ...study, genes: study.turned, turned: study.genes, close: () => study.close() } : study;
}

function nKnown(table: Table, card: ModelCard): number {
  const known = new Set([...card.genes, ...card.proteins]);
  const namings = [table.varNames("X"), ...table.varColumns("X").map((name) => table.varColumn("X", name))];
  return Math.max(...namings.map((names) => names.filter((name) => known.has(name)).length));
}
