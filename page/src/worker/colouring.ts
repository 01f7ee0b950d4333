/** A column of `obs` as what cells are coloured by. */

import type { NumberColumn, ObsColumn } from "../reading/contract";
import type { Colouring } from "../seeing/contract";

/** Whole numbers of so few kinds are labels, as clusters are. */
const FEW = 50;

export function colouringOf(title: string, column: ObsColumn): Colouring {
  if (column.kind === "categories") {
    return { kind: "categories", title, categories: column.categories.map(String), codes: column.codes };
  }
  return asLabels(title, column) ?? { kind: "numbers", title, values: Float32Array.from(column.values) };
}

/** null: the numbers are no labels. */
function asLabels(title: string, { values }: NumberColumn): Colouring | null {
  const kinds = new Set<number>();
  for (const value of values) {
    if (Number.isNaN(value)) continue;
    if (!Number.isInteger(value)) return null;
    kinds.add(value);
    if (kinds.size > FEW) return null;
  }
  if (kinds.size === 0) return null;
  const sorted = [...kinds].sort((a, b) => a - b);
  const places = new Map(sorted.map((value, place) => [value, place]));
  const codes = Int32Array.from(values, (value) => places.get(value) ?? -1);
  return { kind: "categories", title, categories: sorted.map(String), codes };
}
