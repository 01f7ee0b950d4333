import { describe, expect, test } from "vitest";
import { NO_CHOICE } from "../../src/planning/contract";
import { madeUnique } from "../../src/planning/genes";
import { plan, questions } from "../../src/planning/plan";
import { openFiles } from "../../src/reading/open";
import { dense, fileOf, textFile } from "../reading/files";
import { cardOf, studyOf } from "./tables";

const IDS = ["ENSG00000000001", "ENSG00000000002", "ENSG00000000003", "ENSG00000000004"];
const geneQuestion = (study: Parameters<typeof questions>[0], card = cardOf()) =>
  questions(study, card, NO_CHOICE).find(({ id }) => id === "geneColumn");

test("the model's genes are sent in its order, others are named", () => {
  const { genes } = plan(studyOf(), cardOf(), NO_CHOICE);
  expect(genes.names).toEqual(["LYZ", "CD3E", "MS4A1"]);
  expect([...genes.target]).toEqual([1, 2, 0, -1]);
  expect(genes.extra).toEqual(["NKG7"]);
});

describe("names of another kind", () => {
  test("are asked for where a column of var has the model's", () => {
    const study = studyOf({ genes: IDS, var: { symbol: ["CD3E", "MS4A1", "LYZ", "NKG7"] } });
    expect(geneQuestion(study)).toMatchObject({ found: null });
    expect(geneQuestion(study)?.why).toMatch(
      /none of the model's 4 genes.*3 of them are in the column symbol of var: choose it/,
    );
    expect(() => plan(study, cardOf(), NO_CHOICE)).toThrow(/3 of them are in the column symbol of var: choose it/);
    expect(plan(study, cardOf(), { ...NO_CHOICE, geneColumn: "symbol" }).genes.names).toEqual(["LYZ", "CD3E", "MS4A1"]);
  });

  test.each([
    [IDS, /The file has Ensembl ids and the model symbols/],
    [["Cd3e", "Ms4a1", "Lyz", "Nkg7"], /letter case; is it another species/],
    [["CD3E.1", "MS4A1.2", "LYZ.1", "NKG7.1"], /version suffix/],
    [["a", "b", "c", "d"], /is it the right model/],
  ])("%s are explained", (genes, message) => {
    expect(() => plan(studyOf({ genes }), cardOf(), NO_CHOICE)).toThrow(message);
  });

  test("is not asked where there is one kind alone", () => {
    expect(geneQuestion(studyOf({ var: { chromosome: ["1", "2", "X", "X"] } }))).toBeUndefined();
  });
});

describe("few genes are known by their names", () => {
  const card = cardOf({ genes: Array.from({ length: 20 }, (_, gene) => `GENE${gene}`) });
  const some = (name: (gene: number) => string, n = 20) =>
    Array.from({ length: n }, (_, gene) => (gene === 0 ? "GENE0" : name(gene)));
  const studyWith = (genes: string[], columns = {}) =>
    studyOf({ genes, var: columns, layers: { X: [genes.map(() => 1)] } });
  const ensembl = (gene: number) => `ENSG${String(gene).padStart(11, "0")}`;

  test("and a column of var has most: it is asked for", () => {
    const study = studyWith(some(ensembl), { symbol: card.genes });
    const asked = geneQuestion(study, card);
    expect(asked).toMatchObject({
      found: null,
      why: expect.stringMatching(
        /^only 1 of the model's 20 genes is among the names.*20 of them are in the column symbol of var: choose it/,
      ),
    });
    expect(asked?.options.map(({ problem }) => problem === "")).toEqual([false, true]);
    expect(() => plan(study, card, NO_CHOICE)).toThrow(/choose it/);
    expect(() => plan(study, card, { ...NO_CHOICE, geneColumn: "" })).toThrow(/choose it/);
    expect(plan(study, card, { ...NO_CHOICE, geneColumn: "symbol" }).genes.names).toHaveLength(20);
  });

  test.each([
    [
      some(ensembl),
      /^only 1 of .*\. The file has Ensembl ids and the model symbols: name your genes by symbols, or add a column of var/,
    ],
    [some((gene) => `Gene${gene}`), /19 of the missing genes .* letter case; is it another species\? .*"Gene1" may be/],
    [some((gene) => `OTHER${gene}`), /At least half are needed.*not only the most variable ones, or another model\.$/],
    [some((gene) => `GENE${gene}`, 9), /^only 9 of .*At least half are needed/],
  ])("%#: too few, and why is told", (genes, message) => {
    expect(() => plan(studyWith(genes), card, NO_CHOICE)).toThrow(message);
  });

  test("or by another spelling: it is hinted at", () => {
    const hintsOf = (genes: string[]) => plan(studyWith(genes), card, NO_CHOICE).hints;
    expect(hintsOf(some((gene) => (gene < 15 ? `GENE${gene}` : `GENE${gene}.2`)))).toEqual([
      expect.stringMatching(/^5 of the missing genes .* version suffix .*"GENE15.2" may be the model's "GENE15"/),
    ]);
    expect(hintsOf(some((gene) => `GENE${gene}`, 10))).toEqual([]);
    expect(hintsOf([...card.genes, "more"])).toEqual([]);
  });
});

test("genes that are twice are refused, but not in 10x files, where the first is taken", () => {
  const genes = ["LYZ", "CD3E", "LYZ", "MS4A1"];
  expect(() => plan(studyOf({ genes }), cardOf(), NO_CHOICE)).toThrow(/1 gene of the model is more than once.*"LYZ"/);
  const tenx = studyOf({ genes, var: { gene_symbols: genes, gene_ids: IDS }, chooseNames: true });
  expect([...plan(tenx, cardOf(), NO_CHOICE).genes.target]).toEqual([0, 1, -1, 2]);
  expect(geneQuestion(tenx)).toBeUndefined();
});

test("names are made unique as anndata makes them", () => {
  // anndata.utils.make_index_unique of the same.
  expect(madeUnique(["a", "b", "a", "a-1", "a", "b"])).toEqual(["a", "b", "a-2", "a-1", "a-3", "b-1"]);
});

test("a model whose own names repeat takes exactly its columns", () => {
  const card = cardOf({ genes: ["A", "A", "B", "C"] });
  const { genes } = plan(studyOf({ genes: ["A", "A", "B", "C"] }), card, NO_CHOICE);
  expect([[...genes.target], genes.names]).toEqual([
    [0, 1, 2, 3],
    ["A", "A", "B", "C"],
  ]);
  expect(() => plan(studyOf(), card, NO_CHOICE)).toThrow(/exactly its 4 genes/);
});

test("a 10x file takes the names that fit, and its genes apart from its proteins", async () => {
  const study = await openFiles([fileOf("tenx_v3.h5")]);
  const ids = Array.from({ length: 5 }, (_, gene) => `ENSG0000000000${gene}`);
  const card = cardOf({ genes: ids, proteins: ["CD14", "CD8"] });
  const found = plan(study, card, NO_CHOICE);
  expect(found.genes.names).toEqual(ids);
  expect([...found.genes.target.slice(0, 6)]).toEqual([0, 1, 2, 3, 4, -1]);
  expect(found.genes.extra).toHaveLength(12);
  expect(found.proteins?.names).toEqual(["CD14"]);
  expect(found.proteins?.target[19]).toBe(0);
  expect(found.proteins?.extra).toEqual(["CD3", "CD19"]);
});

describe("a sheet", () => {
  const card = cardOf({ genes: ["LYZ", "CD3E"], proteins: ["CD19_prot"] });
  test.each([
    ["cells by genes", "cell,CD3E,NKG7,LYZ,CD19_prot\nc1,1,0,3,9\nc2,0,2,0,8\n"],
    ["genes by cells", "gene,c1,c2\nCD3E,1,0\nNKG7,0,2\nLYZ,3,0\nCD19_prot,9,8\n"],
  ])("of %s is turned so that the model's genes are its columns", async (_, text) => {
    const found = plan(await openFiles([textFile("cells.csv", text)]), card, NO_CHOICE);
    expect([found.nCells, found.table.cellIds()]).toEqual([2, ["c1", "c2"]]);
    expect([...found.genes.target]).toEqual([1, -1, 0, -1]);
    expect(dense(found.genes.matrix)).toEqual([
      [1, 0, 3, 9],
      [0, 2, 0, 8],
    ]);
    expect([...(found.proteins?.target ?? [])]).toEqual([-1, -1, -1, 0]);
    expect(found.genes.extra).toEqual(["NKG7"]);
  });
});
