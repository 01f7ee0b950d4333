/** Columns of the data frames of an AnnData, in the encodings of old and of current versions. */

import type { LabelValue } from "../service/types";
import { type CategoryColumn, InputError, type ObsColumn } from "./contract";
import type { H5File } from "./h5";

/** The names of the columns of a frame, without its index. */
export function columnNames(file: H5File, frame: string): string[] {
  const there = file.keys(frame);
  // An empty list of names is stored as one of numbers.
  const order = file.textsAttribute(frame, "column-order") ?? there;
  const index = indexName(file, frame);
  return order.filter((name) => there.includes(name) && name !== index && name !== "__categories");
}

function indexName(file: H5File, frame: string): string {
  return file.textAttribute(frame, "_index") || (file.keys(frame).includes("_index") ? "_index" : "index");
}

/** The names of the rows of a frame. */
export function rowNames(file: H5File, frame: string): string[] {
  const name = indexName(file, frame);
  if (!file.keys(frame).includes(name)) {
    throw new InputError(`${file.name} is damaged: ${frame} has no names; get a new copy.`);
  }
  return columnTexts(file, frame, name);
}

/** How many rows a frame has. */
export function nRows(file: H5File, frame: string): number {
  const name = indexName(file, frame);
  const path = `${frame}/${name}`;
  return file.isDataset(path) ? (file.shape(path).shape[0] ?? 0) : columnTexts(file, frame, name).length;
}

/** A column as text, whatever it holds. */
export function columnTexts(file: H5File, frame: string, name: string): string[] {
  const path = `${frame}/${name}`;
  if (file.isDataset(path) && file.shape(path).kind === "text") {
    return file.texts(path);
  }
  const column = readColumn(file, frame, name);
  if (column.kind === "numbers") {
    return Array.from(column.values, String);
  }
  return Array.from(column.codes, (code) => (code < 0 ? "nan" : String(column.categories[code])));
}

/** Whether a column is text, or categories of text. */
export function isTextColumn(file: H5File, frame: string, name: string): boolean {
  const path = `${frame}/${name}`;
  if (file.isDataset(path)) {
    return file.shape(path).kind === "text" || legacyCategories(file, frame, name) !== null;
  }
  const encoding = file.textAttribute(path, "encoding-type");
  return (
    encoding === "nullable-string-array" ||
    (encoding === "categorical" && labelsOf(file, `${path}/categories`).every((label) => typeof label === "string"))
  );
}

/** A column. */
export function readColumn(file: H5File, frame: string, name: string): ObsColumn {
  const path = `${frame}/${name}`;
  if (file.isDataset(path)) {
    const categories = legacyCategories(file, frame, name);
    return categories === null ? plainColumn(file, path) : coded(labelsOf(file, categories), file.numbers(path));
  }
  const encoding = file.textAttribute(path, "encoding-type");
  if (encoding === "categorical") {
    return coded(labelsOf(file, `${path}/categories`), file.numbers(`${path}/codes`));
  }
  if (encoding.startsWith("nullable-")) {
    return masked(plainColumn(file, `${path}/values`), file.numbers(`${path}/mask`));
  }
  throw new InputError(
    `the column ${name} of ${frame} in ${file.name} is of a kind (${encoding || "none"}) that cannot be read; remove it or make it text.`,
  );
}

/** Where anndata 0.7 and before has the categories of a column of codes. */
function legacyCategories(file: H5File, frame: string, name: string): string | null {
  const beside = `${frame}/__categories/${name}`;
  return file.referredPath(`${frame}/${name}`, "categories") ?? (file.isDataset(beside) ? beside : null);
}

function plainColumn(file: H5File, path: string): ObsColumn {
  const { kind } = file.shape(path);
  if (kind === "text") {
    return factorized(file.texts(path));
  }
  const values = file.numbers(path);
  if (kind === "boolean") {
    return {
      kind: "categories",
      categories: [false, true],
      codes: Int32Array.from(values, (value) => (value === 0 ? 0 : 1)),
    };
  }
  return { kind: "numbers", values: Float64Array.from(values), whole: kind === "integer" };
}

function labelsOf(file: H5File, path: string): LabelValue[] {
  const column = file.isDataset(path)
    ? plainColumn(file, path)
    : masked(plainColumn(file, `${path}/values`), file.numbers(`${path}/mask`));
  if (column.kind === "numbers") {
    return Array.from(column.values);
  }
  return Array.from(column.codes, (code) => column.categories[code] ?? "nan");
}

function coded(categories: LabelValue[], codes: ArrayLike<number>): CategoryColumn {
  return {
    kind: "categories",
    categories,
    codes: Int32Array.from(codes, (code) => (code < categories.length ? code : -1)),
  };
}

function masked(column: ObsColumn, mask: ArrayLike<number>): ObsColumn {
  const holes = column.kind === "numbers" ? column.values : column.codes;
  const none = column.kind === "numbers" ? Number.NaN : -1;
  for (let row = 0; row < holes.length; row++) {
    if (mask[row] !== 0) {
      holes[row] = none;
    }
  }
  return column;
}

/** Texts as categories, in the order in which they first come. */
export function factorized(texts: readonly string[]): CategoryColumn {
  const places = new Map<string, number>();
  const codes = new Int32Array(texts.length);
  for (let row = 0; row < texts.length; row++) {
    let place = places.get(texts[row]);
    if (place === undefined) {
      place = places.size;
      places.set(texts[row], place);
    }
    codes[row] = place;
  }
  return { kind: "categories", categories: [...places.keys()], codes };
}
