/** What Cell Ranger writes as one HDF5 file, of version 2 (a group for each genome) or later (`matrix`). */

import { InputError, type Study } from "./contract";
import type { H5File } from "./h5";
import { MemoryTable, type Told } from "./memory_table";
import { StoredCsr } from "./stored_matrix";

/** Whether an open HDF5 file looks like one of Cell Ranger's. */
export function is10x(file: H5File): boolean {
  return file.keys("matrix").includes("barcodes") || genomes(file).length > 0;
}

function genomes(file: H5File): string[] {
  return file.keys("").filter((name) => {
    const there = file.keys(name);
    return ["barcodes", "genes", "indptr"].every((part) => there.includes(part));
  });
}

/** The counts of features by barcode. */
export function studyOf10x(file: H5File): Study {
  const { group, var: told } = features(file);
  const [nFeatures, nCells] = file.numbers(`${group}/shape`);
  const table = new MemoryTable({
    title: file.name,
    matrix: new StoredCsr(file, group, nCells, nFeatures),
    varNames: told[0].texts,
    var: told,
    cellIds: file.texts(`${group}/barcodes`),
    obs: [],
    chooseNames: true,
  });
  return {
    fileName: file.name,
    format: "10x h5",
    genes: table,
    proteins: null,
    turned: null,
    close: () => file.close(),
  };
}

function features(file: H5File): { group: string; var: Told[] } {
  if (file.isGroup("matrix/features")) {
    const at = "matrix/features";
    const ids = file.texts(`${at}/id`);
    const hasTypes = file.isDataset(`${at}/feature_type`);
    const told = [
      { name: "gene_symbols", texts: file.texts(`${at}/name`) },
      { name: "gene_ids", texts: ids },
      { name: "feature_types", texts: hasTypes ? file.texts(`${at}/feature_type`) : ids.map(() => "Gene Expression") },
    ];
    return { group: "matrix", var: told };
  }
  const found = genomes(file);
  if (found.length > 1) {
    throw new InputError(
      `${file.name} holds the genomes ${found.join(", ")}; read one with scanpy.read_10x_h5(…, genome=…), write it with ` +
        "write_h5ad and drop that file.",
    );
  }
  if (found.length === 0) {
    throw new InputError(`${file.name} looks like a 10x file, but has no list of genes; get a new copy.`);
  }
  const group = found[0];
  const ids = file.texts(`${group}/genes`);
  const told = [
    { name: "gene_symbols", texts: file.texts(`${group}/gene_names`) },
    { name: "gene_ids", texts: ids },
    { name: "feature_types", texts: ids.map(() => "Gene Expression") },
  ];
  return { group, var: told };
}
