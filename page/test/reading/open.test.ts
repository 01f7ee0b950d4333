import { readFileSync } from "node:fs";
import { zipSync } from "fflate";
import { describe, expect, test } from "vitest";
import { openFiles } from "../../src/reading/open";
import { bytesOf, dense, expected, fileOf, found, textFile } from "./files";

describe("an h5ad file", () => {
  test("is read as Python reads it, whatever the encoding of its columns and matrices", async () => {
    const study = await openFiles([fileOf("cells.h5ad")]);
    expect(study.format).toBe("h5ad");
    expect(found(study.genes)).toEqual(expected["cells.h5ad"]);
    study.close();
  });

  test("has names of genes and proteins where anndata and scvi-tools keep them", async () => {
    const { genes } = await openFiles([fileOf("cells.h5ad")]);
    expect(genes.varColumns("X")).toEqual(["gene_ids", "chromosome"]);
    expect(genes.varColumn("X", "gene_ids")[16]).toBe("ENSG00000000016");
    expect(genes.varColumn("X", "chromosome").slice(0, 3)).toEqual(["1", "X", "1"]);
    expect(genes.varNames("raw")[19]).toBe("RAW19");
    expect(genes.obsmMatrix("protein_expression").names).toEqual(["CD3", "CD19", "CD14"]);
    expect(genes.obsmMatrix("frame").names).toEqual(["CD3", "CD19", "CD14"]);
    expect(genes.obsColumn("lane")).toMatchObject({ kind: "numbers", whole: true });
    expect(genes.obsColumn("age")).toMatchObject({ kind: "numbers", whole: false });
    expect(genes.obsColumn("lane_category")).toMatchObject({ kind: "categories", categories: [7, 8] });
  });

  test("of anndata 0.7 is read as well, and with a wrong name", async () => {
    const study = await openFiles([fileOf("old.h5ad", "download")]);
    expect(found(study.genes)).toEqual(expected["old.h5ad"]);
  });

  test("gives any span of rows, in any order", async () => {
    const { genes } = await openFiles([fileOf("cells.h5ad")]);
    const all = expected["cells.h5ad"].layers;
    for (const layer of ["X", "columns", "dense"]) {
      for (const [from, to] of [
        [7, 9],
        [0, 13],
        [3, 8],
        [6, 6],
        [12, 13],
        [1, 2],
      ]) {
        const rows = genes.matrix(layer).rows(from, to);
        const part = dense({ nCells: to - from, nColumns: 17, rows: () => rows }, 99);
        expect(part).toEqual(all[layer].slice(from, to));
      }
    }
  });

  test("the example is read", async () => {
    const file = new File([readFileSync(new URL("../../../examples/cells.h5ad", import.meta.url))], "cells.h5ad");
    const { genes } = await openFiles([file]);
    expect([genes.nCells, genes.varNames("X").length, genes.obs]).toEqual([600, 2000, ["batch", "population"]]);
    expect(genes.matrix("X").rows(0, 600).data.length).toBe(92802);
  });
});

test("an h5mu file has the genes of one modality, the proteins of another, and the columns of all", async () => {
  const study = await openFiles([fileOf("both.h5mu")]);
  expect(study.format).toBe("h5mu");
  const rna = found(study.genes);
  expect(rna.layers.X).toEqual(expected["both.h5mu"].rna.layers.X);
  expect(rna.obs).toMatchObject(expected["both.h5mu"].rna.obs);
  expect(rna.obs.sample[0]).toBe("s");
  expect(study.proteins && found(study.proteins)).toMatchObject(expected["both.h5mu"].prot);
});

test.each([2, 3])("a 10x file of Cell Ranger's version %i is read by cells", async (version) => {
  const { genes, format } = await openFiles([fileOf(`tenx_v${version}.h5`)]);
  expect(format).toBe("10x h5");
  expect(dense(genes.matrix("X"))).toEqual(expected[`tenx_v${version}.h5`]);
  expect(genes.cellIds()[12]).toBe("BARCODE12-1");
  expect(genes.varColumns("X")).toEqual(["gene_symbols", "gene_ids", "feature_types"]);
  expect(genes.varNames("X")[16]).toBe("GENE1");
  expect(genes.varColumn("X", "gene_ids")[16]).toBe("ENSG00000000016");
  expect(genes.varColumn("X", "feature_types").filter((kind) => kind === "Antibody Capture")).toHaveLength(
    version === 3 ? 3 : 0,
  );
  expect(genes.chooseNames).toBe(true);
});

describe("a matrix-market trio", () => {
  const parts = ["barcodes.tsv", "features.tsv", "matrix.mtx"];
  const drops: [string, File[]][] = [
    ["three files", parts.map((part) => fileOf(part))],
    [
      "three gzipped files",
      parts.map((part) => new File([readFileSync(new URL(`./files/${part}.gz`, import.meta.url))], `GSM1_${part}.gz`)),
    ],
    ["version 2's names", parts.map((part) => fileOf(part, part.replace("features", "genes")))],
    ["a zip", [fileOf("trio.zip")]],
    ["a tar", [fileOf("trio.tar")]],
    ["a tar with GNU's long names", [fileOf("gnu.tar")]],
    ["a tar with short names", [fileOf("short.tar")]],
    ["a gzipped tar", [new File([readFileSync(new URL("./files/trio.tar.gz", import.meta.url))], "trio.tar.gz")]],
  ];
  test.each(drops)("as %s", async (_, files) => {
    const { genes, format } = await openFiles(files);
    expect(format).toBe("matrix market");
    expect(dense(genes.matrix("X"))).toEqual(expected.trio);
    expect(genes.varNames("X").slice(-3)).toEqual(["CD3", "CD19", "CD14"]);
    expect(genes.cellIds()[12]).toBe("BARCODE12-1");
  });

  test("in any order of its entries, of numbers with and without fractions", async () => {
    const text = new TextDecoder().decode(bytesOf("matrix.mtx")).replace("integer", "real").trimEnd().split("\n");
    const head = text.findIndex((line) => !line.startsWith("%")) + 1;
    const shuffled = [...text.slice(0, head), ...text.slice(head).reverse()].join("\r\n");
    const files = [fileOf("barcodes.tsv"), fileOf("features.tsv"), textFile("matrix.mtx", shuffled)];
    expect(dense((await openFiles(files)).genes.matrix("X"))).toEqual(expected.trio);
    const odd = textFile(
      "matrix.mtx",
      "%%MatrixMarket matrix coordinate real general\n20 13 3\n1 2 1.25e1\n3 1 -0.1\n2 2 16777217",
    );
    const rows = (await openFiles([files[0], files[1], odd])).genes.matrix("X").rows(0, 2);
    expect([...rows.data]).toEqual([-0.1, 12.5, 16777217]);
    expect([...rows.indices]).toEqual([2, 0, 1]);
  });

  const market = "%%MatrixMarket matrix coordinate integer general\n";
  const wrong: [string, string, RegExp][] = [
    ["cut short", `${market}20 13 3\n1 2 1\n`, /cut short: 1 of 3 entries/],
    ["longer than it says", `${market}20 13 1\n1 2 1\n2 2 1\n`, /more entries than the 1/],
    ["with an entry outside", `${market}20 13 1\n21 2 1\n`, /entry 1 is not within 20 features and 13 cells/],
    ["with a word for a count", `${market}20 13 1\n2 2 many\n`, /"many" for a count/],
    ["of patterns", `${market.replace("integer", "pattern")}20 13 1\n2 2\n`, /pattern/],
    ["of another format", "1 2 3\n", /does not begin with/],
    ["of other cells", `${market}20 12 1\n2 2 1\n`, /13 barcodes for 12/],
  ];
  test.each(wrong)("%s is refused", async (_, text, message) => {
    const files = [fileOf("barcodes.tsv"), fileOf("features.tsv"), textFile("matrix.mtx", text)];
    await expect(openFiles(files)).rejects.toThrow(message);
  });

  test("whose archive is cut short, or which lacks a part, is refused", async () => {
    const packed = readFileSync(new URL("./files/trio.tar.gz", import.meta.url));
    await expect(openFiles([new File([packed.subarray(0, 600)], "trio.tar.gz")])).rejects.toThrow(
      /damaged or cut short/,
    );
    await expect(openFiles([new File([bytesOf("trio.zip").subarray(0, 500)], "trio.zip")])).rejects.toThrow(
      /cut short|here is no/,
    );
    await expect(openFiles([fileOf("matrix.mtx"), fileOf("barcodes.tsv")])).rejects.toThrow(/here is no features.tsv/);
    await expect(openFiles([fileOf("matrix.mtx"), fileOf("matrix.mtx", "b/matrix.mtx")])).rejects.toThrow(
      /several samples/,
    );
    await expect(openFiles([fileOf("matrix.mtx")])).rejects.toThrow(/one of the three files/);
  });
});

describe("what is no data set is told apart, in words", () => {
  const bytes = (...values: number[]) => new Uint8Array(values);
  const wrong: [string, File, RegExp][] = [
    ["an empty file", textFile("cells.h5ad", ""), /is empty/],
    ["a text", textFile("notes.txt", "These are my notes.\nNothing else."), /text, but no table/],
    ["a web page named h5ad", textFile("cells.h5ad", "<html>404</html>"), /not an HDF5 file, whatever its name says/],
    ["a web page", textFile("cells.csv", "<html>a, b</html>"), /no table/],
    ["a picture", new File([bytes(0x89, 0x50, 0x4e, 0x47, 0, 1, 2)], "umap.png"), /a picture/],
    ["R's", new File([bytes(0x58, 0x0a, 0, 0)], "cells.rds"), /R's own format/],
    ["bytes", new File([bytes(1, 0, 2, 0)], "cells.bin"), /nothing that is known here/],
    ["a zip without a trio", new File([zipOf("notes.txt", "text")], "notes.zip"), /here is no matrix.mtx/],
    [
      "a compressed HDF5 file",
      new File([readFileSync(new URL("./files/cells.h5ad.gz", import.meta.url))], "cells.h5ad.gz"),
      /gunzip/,
    ],
    [
      "a truncated one",
      new File([bytesOf("cells.h5ad").subarray(0, 40_000)], "cells.h5ad"),
      /cells.h5ad is damaged or cut short \(truncated file/,
    ],
    ["a damaged one", new File([damaged()], "cells.h5ad"), /damaged|HDF5 file, but neither/],
  ];
  test.each(wrong)("%s", async (_, file, message) => {
    await expect(openFiles([file])).rejects.toThrow(message);
    await expect(openFiles([file])).rejects.toMatchObject({ name: "InputError" });
  });

  test("a file compressed in a way that is not read here names it", async () => {
    await expect(openFiles([fileOf("lzf.h5ad")])).rejects.toThrow(/compressed by lzf.*compression="gzip"/);
  });

  test("several files at once, and none", async () => {
    await expect(openFiles([fileOf("cells.h5ad"), fileOf("old.h5ad")])).rejects.toThrow(/one file at a time/);
    await expect(openFiles([])).rejects.toThrow(/nothing was dropped/);
  });
});

function damaged(): Uint8Array<ArrayBuffer> {
  const content = bytesOf("cells.h5ad");
  return content.fill(0xff, 96, 2000);
}

/** A zip archive of one file, not compressed. */
function zipOf(name: string, text: string): Uint8Array<ArrayBuffer> {
  return zipSync({ [name]: new TextEncoder().encode(text) }) as Uint8Array<ArrayBuffer>;
}
