/** Numbers of the cells, where the model's encoder takes them. */

import { InputError, type Table } from "../reading/contract";
import type { LabelValue } from "../service/types";
import type { Choice, ModelCard, Option, Plan, Question } from "./contract";
import { chosenLabel } from "./contract";
import { columnOf, presentIn } from "./obs_columns";
import { counted, shown } from "./shown";

/** The continuous inputs that the encoder looks at. */
export function askedNumbers(card: ModelCard): string[] {
  return card.encode_covariates ? card.continuous_covariates : [];
}

/** Which number of the cells the model takes. */
export function numberQuestion(table: Table, name: string): Question {
  const own = columnOf(table, name);
  const columns = table.obs.map(
    (column): Option => ({
      value: `column:${column}`,
      label: `column ${column}`,
      problem: numberProblem(table, column),
    }),
  );
  const ownProblem = columns.find(({ value }) => value === `column:${own}`)?.problem ?? "";
  const isFound = own !== undefined && ownProblem === "";
  const why =
    own === undefined
      ? `the file has no column ${name}: choose a column of numbers, or type one number for all cells, in the units of the training.`
      : `the column ${own} is no good: ${ownProblem}. Choose another, or type one number for all cells.`;
  return {
    id: `covariate:${name}`,
    label: `${name} of the cells`,
    help: `A number for each cell, in the units of the training.`,
    options: columns.sort((a, b) => Number(a.problem !== "") - Number(b.problem !== "")),
    found: isFound ? `column:${own}` : null,
    why: isFound ? `the column ${own} has a number for each cell` : why,
    typed: "number",
  };
}

function numberProblem(table: Table, name: string): string {
  const { withoutLabel, firstWithout, labels, unreadable } = presentIn(table, name);
  if (unreadable !== "") {
    return unreadable;
  }
  if (labels.some((label) => typeof label !== "number" || !Number.isFinite(label))) {
    return "is not all numbers";
  }
  return withoutLabel === 0
    ? ""
    : `${counted(withoutLabel, "cell")} without a number (${table.cellIds()[firstWithout]}${withoutLabel > 1 ? " and others" : ""}); fill it in or leave them out`;
}

/** The numbers of the cells. */
export function planNumbers(table: Table, name: string, choice: Choice): Plan["continuous"][string] {
  const chosen = chosenLabel(choice, `covariate:${name}`);
  if (chosen !== null && "value" in chosen) {
    if (typeof chosen.value !== "number" || !Number.isFinite(chosen.value)) {
      throw new InputError(`the covariate ${name} is a number, not ${shown([chosen.value])}.`);
    }
    return { kind: "one", value: chosen.value };
  }
  const column = chosen === null ? columnOf(table, name) : chosen.column;
  if (column === undefined || !table.obs.includes(column)) {
    throw new InputError(
      `the model needs the number ${name} of each cell, and the file has no column ${column ?? name} (there is: ` +
        `${table.obs.slice(0, 20).join(", ") || "nothing"}); choose a column, or type one number for all cells.`,
    );
  }
  const found = table.obsColumn(column);
  const values =
    found.kind === "numbers"
      ? found.values
      : Float64Array.from(found.codes, (code) => asNumber(found.categories[code]));
  const broken = values.findIndex((value) => !Number.isFinite(value));
  if (broken >= 0) {
    throw new InputError(
      `the covariate ${name} must be a number for each cell, and ${table.cellIds()[broken]} has none in the column ${column}; fill it in or ` +
        "leave the cell out.",
    );
  }
  return { kind: "each", values };
}

function asNumber(label: LabelValue | undefined): number {
  return typeof label === "number" ? label : Number.NaN;
}
