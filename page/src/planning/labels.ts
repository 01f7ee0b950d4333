/** Batch and covariates of the cells, where the model's encoder takes them. */

import { type CategoryColumn, InputError, type ObsColumn, type Table } from "../reading/contract";
import type { CategoricalField, Choice, Label, Labels, ModelCard, Option, Question } from "./contract";
import { counted, shown } from "./shown";

/** A column of more different labels is no batch. */
const MOST_CATEGORIES = 200;

/** A categorical input that is asked for: its id in questions, its key in choices. */
interface Asked {
  id: string;
  key: string;
  title: string;
  field: CategoricalField;
}

/** The categorical inputs that the encoder looks at: of more than one category. */
export function askedFields(card: ModelCard): { batch: Asked | null; covariates: Asked[] } {
  const isTaken = (field: CategoricalField) => card.encode_covariates !== false && field.categories.length > 1;
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

/** The continuous inputs that the encoder looks at. */
export function askedNumbers(card: ModelCard): string[] {
  return card.encode_covariates === false ? [] : card.continuous_covariates;
}

/** Equal for the labels that the service takes for one: 1 and 1.0, but neither "1" nor true. */
export function sameLabel(label: Label): string {
  return `${typeof label}:${label}`;
}

/** The labels that the cells of a column have, by how many have each; more than `MOST_CATEGORIES` are not told. */
interface Present {
  labels: Label[];
  isTooMany: boolean;
  withoutLabel: number;
  firstWithout: number;
}

const looked = new WeakMap<Table, Map<string, Present>>();

function presentIn(table: Table, name: string): Present {
  const known = looked.get(table) ?? new Map<string, Present>();
  looked.set(table, known);
  let present = known.get(name);
  if (present === undefined) {
    present = presentLabels(table.obsColumn(name));
    known.set(name, present);
  }
  return present;
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
  };
}

/** The columns of `obs` that bear a key: its own, and in a MuData that of a modality before it. */
function columnOf(table: Table, key: string): string | undefined {
  return table.obs.find((name) => name === key) ?? table.obs.find((name) => name.endsWith(`:${key}`));
}

function columnProblem(table: Table, name: string, { title, field }: Asked): string {
  const { labels, isTooMany, withoutLabel, firstWithout } = presentIn(table, name);
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
    const [theirs, ours] = [typeName(typed), typeName(byText.get(String(typed)) as Label)];
    return `${text}; they are ${theirs} and the model's are ${ours}: convert the column, e.g. adata.obs["${name}"].astype(${pythonType(byText.get(String(typed)) as Label)})`;
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
  const chosen = choice.labels[asked.key] ?? null;
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
function coded(column: CategoryColumn, allowed: Map<string, Label>): Labels {
  const categories: Label[] = [];
  const places = new Map<number, number>();
  const codes = new Int32Array(column.codes.length);
  for (let cell = 0; cell < codes.length; cell++) {
    const code = column.codes[cell];
    let place = places.get(code);
    if (place === undefined) {
      place = categories.length;
      places.set(code, place);
      categories.push(allowed.get(sameLabel(column.categories[code])) as Label);
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

function typeName(label: Label): string {
  return { string: "text", number: "numbers", boolean: "true or false" }[
    typeof label as "string" | "number" | "boolean"
  ];
}

function pythonType(label: Label): string {
  return { string: "str", number: "int", boolean: "bool" }[typeof label as "string" | "number" | "boolean"];
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
  const { withoutLabel, firstWithout, labels } = presentIn(table, name);
  if (labels.some((label) => typeof label !== "number" || !Number.isFinite(label))) {
    return "is not all numbers";
  }
  return withoutLabel === 0
    ? ""
    : `${counted(withoutLabel, "cell")} without a number (${table.cellIds()[firstWithout]}${withoutLabel > 1 ? " and others" : ""}); fill it in or leave them out`;
}

/** The numbers of the cells. */
export function planNumbers(
  table: Table,
  name: string,
  choice: Choice,
): { kind: "one"; value: number } | { kind: "each"; values: Float64Array } {
  const chosen = choice.labels[name] ?? null;
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

function asNumber(label: Label | undefined): number {
  return typeof label === "number" ? label : Number.NaN;
}
