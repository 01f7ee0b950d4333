/** Which kind of study an open HDF5 file is. */

import { InputError, type Study } from "./contract";
import type { H5File } from "./h5";
import { H5adTable } from "./h5ad";
import { studyOfMuData } from "./h5mu";
import { is10x, studyOf10x } from "./tenx";

export function studyOfH5(file: H5File): Study {
  const there = file.keys("");
  if (there.includes("mod")) {
    return studyOfMuData(file);
  }
  if (is10x(file)) {
    return studyOf10x(file);
  }
  if (there.includes("row_attrs") && there.includes("col_attrs")) {
    throw new InputError(
      `${file.name} is a loom file; write it as one that is read here: scanpy.read_loom("cells.loom").write_h5ad("cells.h5ad").`,
    );
  }
  if (there.includes("assays") && there.includes("cell.names")) {
    throw new InputError(
      `${file.name} is a Seurat object (h5Seurat); write it as h5ad: SeuratDisk::Convert("cells.h5seurat", dest = "h5ad").`,
    );
  }
  const table = new H5adTable(file, "", file.name, { matrix: null });
  return { fileName: file.name, format: "h5ad", genes: table, proteins: null, turned: null, close: () => file.close() };
}
