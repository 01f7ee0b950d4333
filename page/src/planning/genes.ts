/** Which of the columns are the model's genes, and under which names they are known. */

import { InputError, type Table } from "../reading/contract";
import type { Choice, ModelCard, Option, PlannedColumns, Question } from "./contract";
import { placeOf } from "./counts";
import { apart, difference } from "./gene_names";
import { counted, examples, shown } from "./shown";

const GENE_TYPES = new Set(["gene expression", "gene_expression", "rna", "gene", "gex"]);
const TYPE_COLUMNS = ["feature_types", "feature_type"];
/** The share of the model's genes below which the service refuses, as each that is missing counts 0. */
const LEAST_COVERAGE = 0.5;

/** What each column measures, in lower case; null: no column of `var` tells. */
export function featureTypes(table: Table, layer: string): string[] | null {
  const columns = table.varColumns(layer);
  const name = TYPE_COLUMNS.find((column) => columns.includes(column));
  return name === undefined ? null : table.varColumn(layer, name).map((kind) => kind.toLowerCase());
}

/** The columns that are genes: by their feature type, and where nothing tells, all but those named as the model's proteins. */
function genePositions(table: Table, layer: string, card: ModelCard): number[] {
  const names = table.varNames(layer);
  const positions = [...names.keys()];
  const kinds = featureTypes(table, layer);
  if (kinds === null) {
    const isProtein = proteinNames(card);
    return positions.filter((position) => !isProtein.has(names[position]));
  }
  const genes = positions.filter((position) => GENE_TYPES.has(kinds[position]));
  return genes.length > 0 ? genes : positions;
}

/** Names that the model knows as a protein and not as a gene. */
export function proteinNames(card: ModelCard): Set<string> {
  const isGene = new Set(card.genes);
  return new Set(card.proteins.filter((name) => !isGene.has(name)));
}

/** A kind of names of the genes: the names themselves ("") or a column of `var`. */
interface Naming {
  column: string;
  names: string[];
  /** Genes of the model among them. */
  nKnown: number;
}

function namings(table: Table, layer: string, card: ModelCard, positions: number[]): Naming[] {
  const known = new Set(card.genes);
  // A 10x file's own names are its symbols, which are a column too.
  const columns = table.chooseNames ? table.varColumns(layer) : ["", ...table.varColumns(layer)];
  return columns
    .filter((column) => !TYPE_COLUMNS.includes(column))
    .map((column) => {
      const all = column === "" ? table.varNames(layer) : table.varColumn(layer, column);
      const names = positions.map((position) => all[position]);
      const nKnown = new Set(names.filter((name) => known.has(name))).size;
      return { column, names, nKnown };
    });
}

/** How many of the model's genes the columns of a layer are, by the names that know most of them. */
export function mostKnown(table: Table, layer: string, card: ModelCard): number {
  const found = namings(table, layer, card, genePositions(table, layer, card));
  return found.reduce((most, { nKnown }) => Math.max(most, nKnown), 0);
}

/** The names that are taken by themselves: those of the file, or where it has several, those that fit best. */
function takenNaming(found: Naming[], chosen: string | null, table: Table): Naming {
  if (chosen !== null) {
    const naming = found.find(({ column }) => column === chosen) ?? (chosen === "" ? found[0] : undefined);
    if (naming === undefined) {
      throw new InputError(`${table.title} has no column ${chosen} of gene names; choose another.`);
    }
    return naming;
  }
  return table.chooseNames ? found.reduce((best, naming) => (naming.nKnown > best.nKnown ? naming : best)) : found[0];
}

/** The model's genes among the columns of a layer. */
export function planGenes(table: Table, layer: string, card: ModelCard, choice: Choice): PlannedColumns {
  const positions = genePositions(table, layer, card);
  if (positions.length === 0) {
    throw new InputError(`${table.title} has no genes: ${placeOf(layer)} has no columns.`);
  }
  const found = namings(table, layer, card, positions);
  const taken = takenNaming(found, choice.geneColumn, table);
  const names = table.chooseNames ? madeUnique(taken.names) : taken.names;
  const matrix = table.matrix(layer);
  const target = new Int32Array(matrix.nColumns).fill(-1);
  const place = `${placeOf(layer)} of ${table.title}`;
  if (new Set(card.genes).size < card.genes.length) {
    if (names.length !== card.genes.length || names.some((name, at) => name !== card.genes[at])) {
      throw new InputError(
        `the model's own gene names repeat, so ${table.title} must have exactly its ${card.genes.length} genes in its order.`,
      );
    }
    positions.forEach((position, at) => {
      target[position] = at;
    });
    return { matrix, place, target, names: [...card.genes], extra: [] };
  }
  if (!isEnough(taken, card)) {
    throw new InputError(fewKnown(table, card, taken, found));
  }
  return { matrix, place, target, ...matched(table, card, names, positions, target, taken.column) };
}

function matched(
  table: Table,
  card: ModelCard,
  names: string[],
  positions: number[],
  target: Int32Array,
  column: string,
): { names: string[]; extra: string[] } {
  const isKnown = new Set(card.genes);
  const places = new Map<string, number>();
  const extra: string[] = [];
  const twice: string[] = [];
  names.forEach((name, at) => {
    if (!isKnown.has(name)) {
      extra.push(name);
    } else if (places.has(name)) {
      twice.push(name);
    } else {
      places.set(name, positions[at]);
    }
  });
  if (twice.length > 0) {
    throw new InputError(
      `${counted(twice.length, "gene")} of the model ${twice.length === 1 ? "is" : "are"} more than once in ${table.title} (${shown(twice)} in ` +
        `${called(column)}), so it is not known which counts are theirs: choose another column of gene names, or keep the first of ` +
        "each: adata.var_names_make_unique().",
    );
  }
  const sent = card.genes.filter((name) => places.has(name));
  sent.forEach((name, at) => {
    target[places.get(name) as number] = at;
  });
  return { names: sent, extra: [...new Set(extra)] };
}

/** Which names of the genes are meant; null where there is one kind of names, and it fits. */
export function geneQuestion(table: Table, layer: string, card: ModelCard, choice: Choice): Question | null {
  const found = namings(table, layer, card, genePositions(table, layer, card));
  if (found.length === 0) {
    return null;
  }
  const taken = takenNaming(found, null, table);
  const useful = found.filter((naming) => naming.nKnown > 0 || naming === taken || naming.column === choice.geneColumn);
  if (useful.length < 2) {
    return null;
  }
  const total = card.genes.length;
  const option = (naming: Naming): Option => ({
    value: naming.column,
    label: `${called(naming.column)} (like ${examples(naming.names, 2)}): ${naming.nKnown.toLocaleString("en")} of the model's ${counted(total, "gene")}`,
    problem: isEnough(naming, card)
      ? ""
      : `at least half are needed; the model's names are like ${examples(card.genes, 2)}`,
  });
  const isFound = isEnough(taken, card);
  return {
    id: "geneColumn",
    label: "Names of the genes",
    help: `The model knows its genes by names like ${examples(card.genes)}.`,
    options: useful.map(option),
    found: isFound ? taken.column : null,
    why: isFound ? `${known(taken, card)} in ${called(taken.column)}` : fewKnown(table, card, taken, found),
  };
}

/** `3 of the model's 4 genes are`. */
function known({ nKnown }: Naming, card: ModelCard): string {
  return `${nKnown.toLocaleString("en")} of the model's ${counted(card.genes.length, "gene")} ${nKnown === 1 ? "is" : "are"}`;
}

function isEnough({ nKnown }: Naming, card: ModelCard): boolean {
  return nKnown > 0 && nKnown >= LEAST_COVERAGE * card.genes.length;
}

function fewKnown(table: Table, card: ModelCard, taken: Naming, found: Naming[]): string {
  const isNone = taken.nKnown === 0;
  const { missing, extra } = apart(card.genes, taken.names);
  const few = isNone ? `none of the model's ${counted(card.genes.length, "gene")} is` : `only ${known(taken, card)}`;
  const text =
    `${few} among the names of the genes in ${table.title}: the file's are like ${examples(extra)}, the model's like ` +
    examples(missing);
  const best = found.reduce((best, naming) => (naming.nKnown > best.nKnown ? naming : best), taken);
  if (isEnough(best, card)) {
    return `${text}. ${best.nKnown.toLocaleString("en")} of them are in ${called(best.column)}: choose it for the names of the genes.`;
  }
  const why = difference(missing, extra, card.genes.length);
  if (why !== "") {
    return `${text}. ${why}`;
  }
  return isNone
    ? `${text}; is it the right model for these cells?`
    : `${text}. At least half are needed, as each that is missing counts as 0: use a file with all genes, not only the most variable ones, or ` +
        "another model.";
}

/** Why genes of the model may be missing, for a person; empty: nothing is known. */
export function geneHints({ names, extra }: PlannedColumns, card: ModelCard): string[] {
  const { missing } = apart(card.genes, names);
  const why = difference(missing, extra, card.genes.length);
  return why === "" ? [] : [why];
}

function called(column: string): string {
  return column === "" ? "the names that the columns have" : `the column ${column} of var`;
}

/** Names as `var_names_make_unique` makes them: the first of several keeps its own. */
export function madeUnique(names: readonly string[]): string[] {
  const taken = new Set(names);
  if (taken.size === names.length) {
    return [...names];
  }
  const seen = new Set<string>();
  const numbers = new Map<string, number>();
  return names.map((name) => {
    if (!seen.has(name)) {
      seen.add(name);
      return name;
    }
    let unique: string;
    do {
      const number = (numbers.get(name) ?? 0) + 1;
      numbers.set(name, number);
      unique = `${name}-${number}`;
    } while (taken.has(unique));
    taken.add(unique);
    return unique;
  });
}
