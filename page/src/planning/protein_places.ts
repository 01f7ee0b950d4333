/** The places of a file that hold proteins, or may: a modality, matrices of `obsm`, columns beside the genes. */

import { InputError, type Matrix, type Study, type Table } from "../reading/contract";
import type { ModelCard } from "./contract";
import { findCounts, placeOf } from "./counts";
import { featureTypes, proteinNames } from "./genes";
import { KIND_WORDS, kindOf } from "./number_kind";
import { mayBe, type Pair, renamedProteins } from "./renamed";
import { counted, examples } from "./shown";

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

/** A place where proteins may be. */
export interface Place {
  /** Of the choice: "modality", "columns" or a key of `obsm`. */
  value: string;
  title: string;
  matrix: Matrix;
  /** [columns] names; null: a column that is no protein. */
  names: (string | null)[];
  /** Proteins of the model among them. */
  nKnown: number;
  /** Names of the file that may be the model's missing ones. */
  renamed: Pair[];
  /** Whether proteins usually are there; others are only taken when chosen. */
  isUsual: boolean;
  /** Why it is no good; empty: it is. */
  problem: string;
}

/** Every place that is of proteins, or may be: whatever has names. */
export function placesOf(study: Study, layer: string, card: ModelCard, allowNonInteger: boolean): Place[] {
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
    return unusable("modality", table.title, counts.why, true);
  }
  const layer = counts.layer ?? table.layers[0];
  const title = counts.layer === null ? table.title : `${placeOf(counts.layer)} of ${table.title}`;
  const place = placeWith("modality", title, table.matrix(layer), table.varNames(layer), card, true);
  return counts.layer === null ? { ...place, problem: counts.why } : place;
}

/** A matrix of `obsm`; null: its columns have no names, and its key says nothing. */
function ofObsm(table: Table, key: string, card: ModelCard, allowNonInteger: boolean): Place | null {
  const isUsual = USUAL_KEYS.has(key.toLowerCase());
  try {
    return readObsm(table, key, card, isUsual, allowNonInteger);
  } catch (error) {
    // One that cannot be read is no obstacle to the others.
    if (error instanceof InputError) {
      return unusable(key, `obsm ${key}`, error.message, isUsual);
    }
    throw error;
  }
}

function readObsm(
  table: Table,
  key: string,
  card: ModelCard,
  isUsual: boolean,
  allowNonInteger: boolean,
): Place | null {
  const found = table.obsmMatrix(key);
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
    return place;
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
    return isThere ? placeWith("columns", "the columns beside the genes", matrix, names, card, true) : null;
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

function unusable(value: string, title: string, problem: string, isUsual: boolean): Place {
  const matrix: Matrix = {
    nCells: 0,
    nColumns: 0,
    rows: () => {
      throw new InputError(problem);
    },
  };
  return { value, title, matrix, names: [], nKnown: 0, renamed: [], isUsual, problem };
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
  const isKnown = new Set(card.proteins);
  const renamed = renamedProteins(
    missing,
    theirs.filter((name) => !isKnown.has(name)),
  );
  const advice = renamed.length > 0 ? `; ${mayBe(renamed)}: rename them in the file if so` : "";
  const problem =
    nKnown > 0
      ? ""
      : `none of the model's ${counted(card.proteins.length, "protein")} is in ${title}: the names there are like ${examples(theirs)}, the model's like ` +
        `${examples(card.proteins)}${advice}.`;
  return { value, title, matrix, names, nKnown, renamed, isUsual, problem };
}
