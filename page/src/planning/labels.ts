/** Batch and covariates of the cells, where the model's encoder takes them. */

import { type CategoryColumn, InputError, type ObsColumn, type Table } from "../reading/contract";
import type { CategoricalField, LabelValue } from "../service/types";
import type { Choice, Labels, ModelCard, Option, Question } from "./contract";
import { chosenLabel } from "./contract";
import { columnOf, MOST_CATEGORIES, presentIn } from "./obs_columns";
import { counted, shown } from "./shown";

/** A categorical input that is asked for: its id in questions and choices, and the model's name for it. */
interface Asked {
  id: string;
  key: string;
  title: string;
  field: CategoricalField;
}

/** The categorical inputs that the encoder looks at: of more than one category. */
export function askedFields(card: ModelCard): { batch: Asked | null; covariates: Asked[] } {
  const isTaken = (field: CategoricalField) => card.encode_covariates && field.categories.length > 1;
  const batch =
    card.batch !== null && isTaken(card.batch)
      ? { id: "batch", key: "batch", title: "batch", field: card.batch }
      : null;
  const covariates = card.categorical_covariates.filter(isTaken).map((field) => ({
    id: `covariate:${field.key}`,
    key: field.key,
    title: `covariate ${field.key}`,
    field,
  }));
  return { batch, covariates };
}

/** Equal for the labels that the service takes for one: 1 and 1.0, but neither "1" nor true. */
function sameLabel(label: LabelValue): string {
  return `${typeof label}:${label}`;
}

function columnProblem(table: Table, name: string, { title, field }: Asked): string {
  const { labels, isTooMany, withoutLabel, firstWithout, unreadable } = presentIn(table, name);
  if (unreadable !== "") {
    return unreadable;
  }
  if (isTooMany) {
    return `has more than ${MOST_CATEGORIES} different labels`;
  }
  if (withoutLabel > 0) {
    const who = table.cellIds()[firstWithout];
    return `${counted(withoutLabel, "cell")} ${withoutLabel === 1 ? "has" : "have"} no ${title} in it (${who}${withoutLabel > 1 ? " and others" : ""}); fill it in or leave them out`;
  }
  const allowed = new Set(field.categories.map(sameLabel));
  const unknown = labels.filter((label) => !allowed.has(sameLabel(label)));
  if (unknown.length === 0) {
    return "";
  }
  const text = `${counted(unknown.length, "label")} unknown to the model: ${shown(unknown)}`;
  const byText = new Map(field.categories.map((category) => [String(category), category]));
  const typed = unknown.find((label) => byText.has(String(label)));
  if (typed !== undefined) {
    const [theirs, ours] = [typeName(typed), typeName(byText.get(String(typed)) as LabelValue)];
    return `${text}; they are ${theirs} and the model's are ${ours}: convert the column, e.g. adata.obs["${name}"].astype(${pythonType(byText.get(String(typed)) as LabelValue)})`;
  }
  return `${text}; it was trained with ${shown(field.categories, 8)}`;
}

/** Which batch or covariate the cells are of. */
export function labelQuestion(table: Table, asked: Asked): Question {
  const { id, key, title, field } = asked;
  const own = columnOf(table, field.key);
  const ownProblem = own === undefined ? "" : columnProblem(table, own, asked);
  const columns = table.obs.map(
    (name): Option => ({
      value: `column:${name}`,
      label: `column ${name}`,
      problem: columnProblem(table, name, asked),
    }),
  );
  columns.sort((a, b) => Number(a.problem !== "") - Number(b.problem !== ""));
  const values = field.categories.map(
    (category): Option => ({
      value: `value:${JSON.stringify(category)}`,
      label: `${category} for all cells`,
      problem: "",
    }),
  );
  const isFound = own !== undefined && ownProblem === "";
  return {
    id,
    label: key === "batch" ? "Batch of the cells" : `${field.key} of the cells`,
    help: `The model was trained with ${shown(field.categories, 8)} (its column ${field.key}); each cell needs one of these.`,
    options: [
      ...columns.filter(({ problem }) => problem === ""),
      ...values,
      ...columns.filter(({ problem }) => problem !== ""),
    ],
    found: isFound ? `column:${own}` : null,
    why: isFound
      ? `the column ${own} has labels that the model knows`
      : notFound(title, own, ownProblem, field, columns),
  };
}

function notFound(
  title: string,
  own: string | undefined,
  problem: string,
  field: CategoricalField,
  columns: Option[],
): string {
  const fitting = columns.find((option) => option.problem === "");
  const hint = fitting === undefined ? "" : ` The ${fitting.label} has labels that the model knows.`;
  return own === undefined
    ? `the file has no column ${field.key}: choose a column with the ${title} of each cell, or one label for all.${hint}`
    : `the column ${own} is no good: ${problem}. Choose another column, or one label for all cells.${hint}`;
}

/** The labels of the cells. */
export function planLabels(table: Table, asked: Asked, choice: Choice): Labels {
  const { title, field } = asked;
  const chosen = chosenLabel(choice, asked.id);
  const allowed = new Map(field.categories.map((category) => [sameLabel(category), category]));
  if (chosen !== null && "value" in chosen) {
    const value = allowed.get(sameLabel(chosen.value));
    if (value === undefined) {
      throw new InputError(
        `${title} ${shown([chosen.value])} is unknown to the model, which was trained with ${shown(field.categories, 8)}.`,
      );
    }
    return { kind: "one", value };
  }
  const name = chosen === null ? columnOf(table, field.key) : chosen.column;
  if (name === undefined || !table.obs.includes(name)) {
    throw new InputError(
      `the model needs the ${title} of each cell, one of ${shown(field.categories)}, and the file has no column ` +
        `${name ?? field.key} (there is: ${table.obs.slice(0, 20).join(", ") || "nothing"}); choose a column, or one label for all cells.`,
    );
  }
  const problem = columnProblem(table, name, asked);
  if (problem !== "") {
    throw new InputError(
      `the ${title} in the column ${name}: ${problem}. Choose another column, or one label for all cells.`,
    );
  }
  return coded(asCategories(table.obsColumn(name)), allowed);
}

/** The labels as the model spells them, those alone that a cell has. */
function coded(column: CategoryColumn, allowed: Map<string, LabelValue>): Labels {
  const categories: LabelValue[] = [];
  const places = new Map<number, number>();
  const codes = new Int32Array(column.codes.length);
  for (let cell = 0; cell < codes.length; cell++) {
    const code = column.codes[cell];
    let place = places.get(code);
    if (place === undefined) {
      place = categories.length;
      places.set(code, place);
      categories.push(allowed.get(sameLabel(column.categories[code])) as LabelValue);
    }
    codes[cell] = place;
  }
  return { kind: "each", categories, codes };
}

function asCategories(column: ObsColumn): CategoryColumn {
  if (column.kind === "categories") {
    return column;
  }
  const places = new Map<number, number>();
  const codes = column.values.map((value) => {
    const place = places.get(value) ?? places.size;
    places.set(value, place);
    return place;
  });
  return { kind: "categories", categories: [...places.keys()], codes: Int32Array.from(codes) };
}

function typeName(label: LabelValue): string {
  return { string: "text", number: "numbers", boolean: "true or false" }[
    typeof label as "string" | "number" | "boolean"
  ];
}

function pythonType(label: LabelValue): string {
  return { string: "str", number: "int", boolean: "bool" }[typeof label as "string" | "number" | "boolean"];
}
