import { expect, test } from "vitest";
import { inPython } from "../../src/reading/in_python";
import { openFiles } from "../../src/reading/open";
import { fileOf } from "./files";

test.each([
  ["X/data", "adata", "adata.X"],
  ["layers/counts", "adata", 'adata.layers["counts"]'],
  ["obs/passes/values", "adata", 'adata.obs["passes"]'],
  ["obs/sample", "mdata", 'mdata.obs["sample"]'],
  ["mod/rna/obsm/adt", "mdata", 'mdata["rna"].obsm["adt"]'],
  ["raw/X", "adata", null],
  ["matrix/data", "adata", null],
] as const)("%s of %s is %s", (path, whole, part) => {
  expect(inPython(path, whole)).toBe(part);
});

test("a column of obs of 16 bits is refused with what to do with that column", async () => {
  const { genes } = await openFiles([fileOf("half.h5ad")]);
  expect(() => genes.obsColumn("cell_type")).toThrow(
    'obs/cell_type in half.h5ad is not numbers that can be read here (whole ones, or floats of 32 or 64 bits); convert it, adata.obs["cell_type"] = adata.obs["cell_type"].astype("float32"), and write the file anew.',
  );
});
