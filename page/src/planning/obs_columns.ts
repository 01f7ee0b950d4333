/** What the columns of `obs` hold, looked at once. */

import { InputError, type ObsColumn, type Table } from "../reading/contract";
import type { LabelValue } from "../service/types";

/** A column of more different labels is no batch. */
export const MOST_CATEGORIES = 200;

/** The labels that the cells of a column have; more than `MOST_CATEGORIES` are not told. */
interface Present {
  labels: LabelValue[];
  isTooMany: boolean;
  withoutLabel: number;
  firstWithout: number;
  /** Why the column cannot be read; empty: it can. */
  unreadable: string;
}

const looked = new WeakMap<Table, Map<string, Present>>();

export function presentIn(table: Table, name: string): Present {
  const known = looked.get(table) ?? new Map<string, Present>();
  looked.set(table, known);
  let present = known.get(name);
  if (present === undefined) {
    present = lookedAt(table, name);
    known.set(name, present);
  }
  return present;
}

function lookedAt(table: Table, name: string): Present {
  try {
    return presentLabels(table.obsColumn(name));
  } catch (error) {
    // One that cannot be read is no obstacle to the others.
    if (error instanceof InputError) {
      return { labels: [], isTooMany: false, withoutLabel: 0, firstWithout: -1, unreadable: error.message };
    }
    throw error;
  }
}

function presentLabels(column: ObsColumn): Present {
  let withoutLabel = 0;
  let firstWithout = -1;
  const without = (cell: number) => {
    firstWithout = withoutLabel === 0 ? cell : firstWithout;
    withoutLabel += 1;
  };
  const found = new Set<number>();
  const places: ArrayLike<number> = column.kind === "numbers" ? column.values : column.codes;
  const isNone = column.kind === "numbers" ? Number.isNaN : (code: number) => code < 0;
  for (let cell = 0; cell < places.length; cell++) {
    if (isNone(places[cell])) {
      without(cell);
    } else if (found.size <= MOST_CATEGORIES) {
      found.add(places[cell]);
    }
  }
  const labels = [...found].sort((a, b) => a - b);
  return {
    labels: column.kind === "numbers" ? labels : labels.map((code) => column.categories[code]),
    isTooMany: found.size > MOST_CATEGORIES,
    withoutLabel,
    firstWithout,
    unreadable: "",
  };
}

/** The columns of `obs` that bear a key: its own, and in a MuData that of a modality before it. */
export function columnOf(table: Table, key: string): string | undefined {
  return table.obs.find((name) => name === key) ?? table.obs.find((name) => name.endsWith(`:${key}`));
}
