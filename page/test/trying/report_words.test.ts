import { describe, expect, test } from "vitest";
import { toldOfGenes, toldOfProteins } from "../../src/trying/report_words";
import type { Coverage, Report } from "../../src/worker/contract";

function coverage(known: number, missing: number, extra = 0): Coverage {
  return { given: known + extra, known, missing, extra, coverage: known / (known + missing) };
}

function reportOf(genes: Coverage, proteins: Coverage, warnings: Report["warnings"] = []): Report {
  return {
    model: "pbmc",
    version: "1",
    sha256: "",
    nCells: 3,
    nChecked: 3,
    counts: "X",
    genes,
    proteins,
    hints: [],
    warnings,
  };
}

const ALL = coverage(10, 0);
const notice = (code: string, examples: string[]) => ({ code, detail: "", count: 9, examples });
const genes = (one: Coverage, warnings: Report["warnings"] = []) => toldOfGenes(reportOf(one, ALL, warnings));
const proteins = (one: Coverage, warnings: Report["warnings"] = []) => toldOfProteins(reportOf(ALL, one, warnings));

describe("of genes", () => {
  test("all known, and others as usual", () => {
    expect(genes(coverage(2000, 0, 31_000))).toEqual([
      { text: "Your file has 2,000 of the model's 2,000 genes (100 %).", tone: "fine" },
      {
        text: "31,000 genes of the file are unknown to the model and not used. That is usual: a model knows a selection of genes.",
        tone: "",
      },
    ]);
  });

  test("some are missing, and are named", () => {
    const warnings = [notice("missing_genes", ["A", "B"]), notice("extra_genes", ["Z"])];
    expect(genes(coverage(1700, 300, 1), warnings)).toEqual([
      {
        text:
          "Your file has 1,700 of the model's 2,000 genes (85 %). 300 genes are missing and count as 0, as if not expressed: A, B, …. Cells may " +
          "lie elsewhere than with all of them. If the file holds a selection of genes, such as the most variable ones, use one with all genes.",
        tone: "warned",
      },
      { text: "1 gene of the file is unknown to the model and not used: Z.", tone: "" },
    ]);
  });
});

describe("of proteins", () => {
  test("those under other names are nothing usual, and nothing is said of variable genes", () => {
    const warnings = [notice("missing_proteins", ["CD4_TotalSeqB"]), notice("extra_proteins", ["CD4"])];
    const told = proteins(coverage(1, 13, 13), warnings);
    expect(told.map(({ text }) => text)).toEqual([
      "Your file has 1 of the model's 14 proteins (7.1 %). 13 proteins are missing and count as 0, as if no antibody had bound: CD4_TotalSeqB, …. " +
        "Cells may lie elsewhere than with all of them; those that were measured must bear the model's names to be used.",
      "13 proteins of the file are unknown to the model and not used: CD4, …. Look whether the missing ones are among them, under other names.",
    ]);
    expect(told[0].tone).toBe("warned");
  });

  test("those of a larger panel are left out", () => {
    expect(proteins(coverage(14, 0, 2)).map(({ text }) => text)).toEqual([
      "Your file has 14 of the model's 14 proteins (100 %).",
      "2 proteins of the file are unknown to the model and not used. The model was trained without them.",
    ]);
  });

  test("none are sent when a person says so, or the model has none", () => {
    expect(proteins(coverage(0, 14))).toEqual([
      {
        text: "No proteins are sent, as you chose: 14 proteins of the model count as 0, which shifts the cells.",
        tone: "warned",
      },
    ]);
    const none = { given: 0, known: 0, missing: 0, extra: 0, coverage: 1 };
    expect(proteins(none)).toEqual([{ text: "The model knows no proteins; none are sent.", tone: "" }]);
  });
});
