/** A MuData: the modality of the genes, that of the proteins, and what all of them tell of the cells. */

import { InputError, type Matrix, type ObsColumn, type Study, type Table } from "./contract";
import type { H5File } from "./h5";
import { H5adTable } from "./h5ad";
import type { StoredCsc } from "./stored_matrix";

const GENES = ["rna", "gex", "gene expression", "gene_expression", "genes", "rna_subset"];
const PROTEINS = [
  "prot",
  "protein",
  "proteins",
  "adt",
  "antibody capture",
  "antibody_capture",
  "ab",
  "protein_subset",
  "cite",
];
const NEITHER = ["atac", "peaks", "hto", "vdj", "airr", "guides", "crispr"];

/** The genes and proteins of an open file. */
export function studyOfMuData(file: H5File): Study {
  const slot: { matrix: StoredCsc | null } = { matrix: null };
  const found = file.keys("mod");
  const tables = new Map(found.map((name) => [name, new H5adTable(file, `mod/${name}`, `the modality ${name}`, slot)]));
  const whole = new H5adTable(file, "", "the MuData", slot);
  const genes = chosen(tables, GENES);
  if (genes === null) {
    throw new InputError(
      `which modality of ${file.name} has the genes cannot be told from their names (${found.join(", ") || "there is none"}); ` +
        'call them "rna" and "prot" and write the file anew.',
    );
  }
  const rna = tables.get(genes) as H5adTable;
  const others = new Map([...tables].filter(([name]) => name !== genes && !NEITHER.includes(name.toLowerCase())));
  const prot = others.get(chosen(others, PROTEINS) ?? "") ?? null;
  for (const table of prot === null ? [rna] : [rna, prot]) {
    checkSameCells(table, whole);
  }
  const told = prot === null ? [rna, whole] : [rna, whole, prot];
  return {
    fileName: file.name,
    format: "h5mu",
    genes: new ModalityTable(rna, told),
    proteins: prot,
    turned: null,
    close: () => file.close(),
  };
}

/** By its name; else the only one that is left, or the one of most columns. */
function chosen(tables: Map<string, H5adTable>, usual: string[]): string | null {
  const named = [...tables.keys()].filter((name) => usual.includes(name.toLowerCase()));
  if (named.length === 1) {
    return named[0];
  }
  if (tables.size === 1) {
    return [...tables.keys()][0];
  }
  const isGenes = usual === GENES;
  const widths = [...tables].map(([name, table]) => ({ name, width: table.varNames("X").length }));
  widths.sort((a, b) => b.width - a.width);
  return isGenes && named.length === 0 && widths.length > 1 && widths[0].width > widths[1].width
    ? widths[0].name
    : null;
}

function checkSameCells(table: Table, whole: Table): void {
  const ids = table.cellIds();
  const all = whole.cellIds();
  if (ids.length === all.length && ids.every((id, cell) => id === all[cell])) {
    return;
  }
  throw new InputError(
    `${table.title} does not have the same cells in the same order as the MuData (${ids.length} and ${all.length}), and a cell ` +
      "needs both its genes and its proteins; muon.pp.intersect_obs(mdata) keeps the cells that have both.",
  );
}

/** A modality, of whose cells others tell as well; the first that has a column tells it. */
class ModalityTable implements Table {
  readonly title: string;
  readonly nCells: number;
  readonly layers: readonly string[];
  readonly chooseNames = false;
  readonly obsm: readonly string[];
  readonly obs: readonly string[];

  constructor(
    private readonly own: Table,
    private readonly told: Table[],
  ) {
    this.title = own.title;
    this.nCells = own.nCells;
    this.layers = own.layers;
    this.obsm = [...new Set(told.flatMap((table) => table.obsm))];
    this.obs = [...new Set(told.flatMap((table) => table.obs))];
  }

  matrix(layer: string): Matrix {
    return this.own.matrix(layer);
  }

  varNames(layer: string): string[] {
    return this.own.varNames(layer);
  }

  varColumns(layer: string): string[] {
    return this.own.varColumns(layer);
  }

  varColumn(layer: string, name: string): string[] {
    return this.own.varColumn(layer, name);
  }

  obsmMatrix(key: string): { matrix: Matrix; names: string[] | null } {
    return (this.told.find((table) => table.obsm.includes(key)) ?? this.own).obsmMatrix(key);
  }

  cellIds(): string[] {
    return this.own.cellIds();
  }

  obsColumn(name: string): ObsColumn {
    return (this.told.find((table) => table.obs.includes(name)) ?? this.own).obsColumn(name);
  }
}
