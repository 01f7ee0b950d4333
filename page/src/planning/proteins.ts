/** Where the protein counts are: a modality, a matrix of `obsm`, or columns beside the genes. */

import { InputError, type Matrix, type Study, type Table } from "../reading/contract";
import type { Choice, ModelCard, Option, PlannedColumns, Question } from "./contract";
import { findCounts, placeOf } from "./counts";
import { featureTypes, proteinNames } from "./genes";
import { KIND_WORDS, kindOf } from "./number_kind";
import { counted, shown } from "./shown";

// biome-ignore format: a list of words
const USUAL_KEYS = new Set([
  "protein_expression", "protein_counts", "proteins", "protein", "prot", "adt", "adt_counts", "antibody_capture",
  "antibody capture", "cite", "cite_seq", "ab",
]);
const PROTEIN_TYPES = new Set([
  "antibody capture",
  "antibody_capture",
  "protein",
  "proteins",
  "protein expression",
  "adt",
  "cite",
]);
const DECORATION = /^(anti-(human|mouse)-|anti-|adt[-_])|([-_.]?(totalseq-?[a-d]?|totala|prot|adt)|[-.]1)$/g;

/** A place where proteins may be. */
interface Place {
  /** Of the choice: "modality", "columns" or a key of `obsm`. */
  value: string;
  title: string;
  matrix: Matrix;
  /** [columns] names; null: a column that is no protein. */
  names: (string | null)[];
  /** Proteins of the model among them. */
  nKnown: number;
  /** Whether proteins usually are there; others are only taken when chosen. */
  isUsual: boolean;
  /** Why it is no good; empty: it is. */
  problem: string;
}

/** What is sent of the proteins; null: none. */
export function planProteins(study: Study, layer: string, card: ModelCard, choice: Choice): PlannedColumns | null {
  if (card.proteins.length === 0 || choice.proteins === "none") {
    return null;
  }
  const places = placesOf(study, layer, card, choice.allowNonInteger);
  const place =
    choice.proteins === null ? foundPlace(places, study, card) : places.find(({ value }) => value === choice.proteins);
  if (place === undefined) {
    throw new InputError(
      `${study.genes.title} has no proteins at ${choice.proteins}; choose another place for the proteins.`,
    );
  }
  if (typeof place === "string") {
    throw new InputError(place);
  }
  if (place.problem !== "") {
    throw new InputError(place.problem);
  }
  const positions = new Map<string, number>();
  const twice: string[] = [];
  place.names.forEach((name, at) => {
    if (name !== null && positions.has(name)) {
      twice.push(name);
    } else if (name !== null) {
      positions.set(name, at);
    }
  });
  if (twice.length > 0) {
    throw new InputError(`proteins are more than once in ${place.title}: ${shown(twice)}; keep one of each.`);
  }
  const names = card.proteins.filter((name) => positions.has(name));
  const target = new Int32Array(place.matrix.nColumns).fill(-1);
  names.forEach((name, at) => {
    target[positions.get(name) as number] = at;
  });
  const isKnown = new Set(card.proteins);
  return {
    matrix: place.matrix,
    place: place.title,
    target,
    names,
    extra: [...positions.keys()].filter((name) => !isKnown.has(name)),
  };
}

/** Where the proteins are; null: the model has none. */
export function proteinQuestion(study: Study, layer: string, card: ModelCard, choice: Choice): Question | null {
  if (card.proteins.length === 0) {
    return null;
  }
  const places = placesOf(study, layer, card, choice.allowNonInteger);
  const found = foundPlace(places, study, card);
  const total = card.proteins.length;
  const options: Option[] = places.map(({ value, title, nKnown, problem }) => ({
    value,
    label: `${title}: ${counted(nKnown, "protein")} of the model's ${total}`,
    problem,
  }));
  options.push({
    value: "none",
    label: "No proteins were measured: each counts 0, which shifts the cells",
    problem: "",
  });
  return {
    id: "proteins",
    label: "Protein counts",
    help: `The model knows ${counted(total, "protein")}, with names like ${shown(card.proteins, 3)}.`,
    options,
    found: typeof found === "string" ? null : found.value,
    why: typeof found === "string" ? found : `${found.title} has ${found.nKnown} of the model's ${total} proteins`,
  };
}

/** The place that is taken by itself, or why there is none. */
function foundPlace(places: Place[], study: Study, card: ModelCard): Place | string {
  const modality = places.find(({ value }) => value === "modality");
  if (modality !== undefined) {
    return modality.problem === "" ? modality : modality.problem;
  }
  const usual = places.filter(({ isUsual }) => isUsual);
  const good = usual.filter(({ problem }) => problem === "");
  const best = good.filter(({ nKnown }) => nKnown === Math.max(...good.map((place) => place.nKnown)));
  if (best.length === 1) {
    return best[0];
  }
  if (best.length > 1) {
    return `proteins are in ${best.map(({ title }) => title).join(" and in ")}, and it is not known which are meant: choose one.`;
  }
  if (usual.length > 0) {
    return usual[0].problem;
  }
  const others = places.filter(({ problem }) => problem === "").map(({ title }) => title);
  return (
    `the model needs the counts of ${counted(card.proteins.length, "protein")} (${shown(card.proteins, 3)}), and ${study.genes.title} has ` +
    "none where they usually are: obsm protein_expression, a modality prot, or columns of the feature type Antibody Capture. " +
    `${others.length > 0 ? `If they are in ${others.join(" or ")}, choose it; if` : "If"} none were measured, choose "no proteins".`
  );
}

function placesOf(study: Study, layer: string, card: ModelCard, allowNonInteger: boolean): Place[] {
  const places: Place[] = [];
  if (study.proteins !== null) {
    places.push(ofModality(study.proteins, card, allowNonInteger));
  }
  for (const key of study.genes.obsm) {
    const place = ofObsm(study.genes, key, card, allowNonInteger);
    if (place !== null) {
      places.push(place);
    }
  }
  const beside = besideGenes(study.genes, layer, card);
  return beside === null ? places : [...places, beside];
}

function ofModality(table: Table, card: ModelCard, allowNonInteger: boolean): Place {
  const counts = findCounts(table, allowNonInteger);
  if (table.layers.length === 0) {
    return unusable("modality", table.title, counts.why);
  }
  const layer = counts.layer ?? table.layers[0];
  const title = counts.layer === null ? table.title : `${placeOf(counts.layer)} of ${table.title}`;
  const place = placeWith("modality", title, table.matrix(layer), table.varNames(layer), card, true);
  return counts.layer === null ? { ...place, problem: counts.why } : place;
}

/** A matrix of `obsm`; null: nothing says that it is of proteins. */
function ofObsm(table: Table, key: string, card: ModelCard, allowNonInteger: boolean): Place | null {
  const isUsual = USUAL_KEYS.has(key.toLowerCase());
  let found: ReturnType<Table["obsmMatrix"]>;
  try {
    found = table.obsmMatrix(key);
  } catch (error) {
    if (error instanceof InputError) {
      return isUsual ? unusable(key, `obsm ${key}`, error.message) : null;
    }
    throw error;
  }
  const { matrix } = found;
  const title = `obsm ${key}`;
  const numbered = Array.from({ length: matrix.nColumns }, (_, at) => String(at));
  // The model's own data had no names either.
  const isNumbered =
    numbered.length === card.proteins.length && numbered.every((name, at) => name === card.proteins[at]);
  const isNamed = found.names !== null && found.names.length === matrix.nColumns;
  const names = isNamed ? found.names : isNumbered && found.names === null ? numbered : null;
  if (names === null && !isUsual) {
    return null;
  }
  const place = placeWith(key, title, matrix, names ?? [], card, isUsual);
  if (names === null) {
    const problem =
      found.names === null
        ? `${title} has ${matrix.nColumns} columns without names, and the model's ${card.proteins.length} proteins are told apart by ` +
          `name: make it a DataFrame, or put the names into adata.uns["${key}_names"].`
        : `${title} has ${matrix.nColumns} columns, but ${found.names.length} names in uns.`;
    return { ...place, problem };
  }
  if (!isUsual && place.nKnown === 0) {
    return null;
  }
  const kind = kindOf(matrix);
  if (kind === "scaled" || (["log-normalised", "normalised"].includes(kind) && !allowNonInteger)) {
    const problem = `${title} looks ${KIND_WORDS[kind]}, and the model needs raw counts of the proteins (whole numbers from 0); choose where those are.`;
    return { ...place, problem };
  }
  return place;
}

/** Columns among those of the genes: by their feature type, and where nothing tells of those, by the model's names. */
function besideGenes(table: Table, layer: string, card: ModelCard): Place | null {
  const kinds = featureTypes(table, layer);
  const matrix = table.matrix(layer);
  if (kinds === null) {
    const isProtein = proteinNames(card);
    const names = table.varNames(layer).map((name) => (isProtein.has(name) ? name : null));
    const isThere = names.some((name) => name !== null);
    return isThere ? placeWith("columns", "columns beside the genes", matrix, names, card, true) : null;
  }
  if (!kinds.some((kind) => PROTEIN_TYPES.has(kind))) {
    return null;
  }
  const namings = [
    table.varNames(layer),
    ...(table.chooseNames ? table.varColumns(layer).map((name) => table.varColumn(layer, name)) : []),
  ];
  const places = namings.map((naming) => {
    const names = naming.map((name, at) => (PROTEIN_TYPES.has(kinds[at]) ? name : null));
    return placeWith("columns", "the columns of the type Antibody Capture", matrix, names, card, true);
  });
  return places.reduce((best, place) => (place.nKnown > best.nKnown ? place : best));
}

function unusable(value: string, title: string, problem: string): Place {
  const matrix: Matrix = {
    nCells: 0,
    nColumns: 0,
    rows: () => {
      throw new InputError(problem);
    },
  };
  return { value, title, matrix, names: [], nKnown: 0, isUsual: true, problem };
}

function placeWith(
  value: string,
  title: string,
  matrix: Matrix,
  names: (string | null)[],
  card: ModelCard,
  isUsual: boolean,
): Place {
  const there = new Set(names);
  const missing = card.proteins.filter((name) => !there.has(name));
  const nKnown = card.proteins.length - missing.length;
  const theirs = names.filter((name) => name !== null);
  const problem =
    nKnown > 0
      ? ""
      : `none of the model's ${counted(card.proteins.length, "protein")} is in ${title}: they are like ${shown(theirs, 3)}, the model's like ` +
        `${shown(card.proteins, 3)}${renaming(missing, theirs)}.`;
  return { value, title, matrix, names, nKnown, isUsual, problem };
}

/** Which may be the same under another name, for a person to decide; never applied. */
function renaming(missing: string[], extra: string[]): string {
  const byStem = new Map([...missing].reverse().map((name) => [stem(name), name]));
  const pairs = extra
    .filter((name) => byStem.has(stem(name)))
    .map((name) => `"${name}" may be its "${byStem.get(stem(name))}"`);
  return pairs.length === 0 ? "" : `; ${pairs.slice(0, 3).join(", ")}: rename them in the file if so`;
}

function stem(name: string): string {
  return name.toLowerCase().replace(DECORATION, "").replace(/[-_.]/g, "");
}
