import { describe, expect, test } from "vitest";
import { NO_CHOICE } from "../../src/planning/contract";
import { plan, questions } from "../../src/planning/plan";
import { InputError } from "../../src/reading/contract";
import { openFiles } from "../../src/reading/open";
import { dense, expected, fileOf } from "../reading/files";
import { cardOf, studyOf, tableOf } from "./tables";

const CARD = cardOf({ proteins: ["CD3_TotalSeqB", "CD19_TotalSeqB"] });
const ROWS = [
  [9, 0],
  [8, 1],
  [7, 2],
];
const NAMES = ["CD19_TotalSeqB", "CD3_TotalSeqB"];
const question = (study: Parameters<typeof questions>[0], card = CARD) =>
  questions(study, card, NO_CHOICE).find(({ id }) => id === "proteins");

test("a usual key of obsm is taken", () => {
  const study = studyOf({
    obsm: { X_pca: { rows: ROWS, names: null }, protein_expression: { rows: ROWS, names: NAMES } },
  });
  expect(question(study)).toMatchObject({ found: "protein_expression" });
  expect(question(study)?.options.map(({ value }) => value)).toEqual(["protein_expression", "none"]);
  const { proteins } = plan(study, CARD, NO_CHOICE);
  expect([[...(proteins?.target ?? [])], proteins?.names, proteins?.extra]).toEqual([[1, 0], CARD.proteins, []]);
});

test("another key may be chosen, and none", () => {
  const study = studyOf({ obsm: { mine: { rows: ROWS, names: NAMES } } });
  expect(question(study)).toMatchObject({ found: null });
  expect(question(study)?.why).toMatch(/If they are in obsm mine, choose it/);
  expect(() => plan(study, CARD, NO_CHOICE)).toThrow(/choose "No proteins were measured"/);
  expect(plan(study, CARD, { ...NO_CHOICE, proteins: "mine" }).proteins?.names).toEqual(CARD.proteins);
  expect(plan(study, CARD, { ...NO_CHOICE, proteins: "none" }).proteins).toBeNull();
  expect(() => plan(study, CARD, { ...NO_CHOICE, proteins: "nix" })).toThrow(/no proteins at nix/);
});

describe("a place that is no good says why", () => {
  const problemOf = (rows: number[][], names: string[] | null) =>
    question(studyOf({ obsm: { adt: { rows, names } } }))?.options[0].problem;
  test.each([
    [ROWS, null, /without names.*adata.uns\["adt_names"\]/],
    [ROWS, ["CD19"], /2 columns, but 1 names/],
    [ROWS, ["anti-CD19", "CD3"], /"anti-CD19" may be the model's "CD19_TotalSeqB".*rename them/],
    [
      [
        [0.5, -1.25],
        [1, 2],
        [1, 2],
      ],
      NAMES,
      /looks scaled/,
    ],
    [
      [
        [0.5, 1.25],
        [0.3, 2],
        [1, 0.2],
      ],
      NAMES,
      /looks log-normalised/,
    ],
  ])("%#", (rows, names, message) => {
    expect(problemOf(rows, names)).toMatch(message);
    expect(() => plan(studyOf({ obsm: { adt: { rows, names } } }), CARD, NO_CHOICE)).toThrow(message);
  });

  test("and one that names a protein twice is refused", () => {
    const study = studyOf({ obsm: { adt: { rows: ROWS, names: [NAMES[0], NAMES[0]] } } });
    expect(() => plan(study, CARD, NO_CHOICE)).toThrow(/more than once in obsm adt: "CD19_TotalSeqB"/);
  });
});

test("a place that cannot be read is a problem of that place alone", () => {
  const study = studyOf({ obsm: { adt: { rows: ROWS, names: NAMES }, prot: { rows: ROWS, names: NAMES } } });
  const read = study.genes.obsmMatrix.bind(study.genes);
  study.genes.obsmMatrix = (key) => {
    if (key === "adt") {
      throw new InputError("obsm adt has columns that are no plain numbers");
    }
    return read(key);
  };
  expect(question(study)).toMatchObject({
    found: "prot",
    options: [{ problem: expect.stringMatching(/no plain numbers/) }, {}, {}],
  });
  expect(() => plan(study, CARD, { ...NO_CHOICE, proteins: "adt" })).toThrow(/no plain numbers/);
});

test("of two places the one of more proteins is taken, and of equals none", () => {
  const both = { adt: { rows: ROWS, names: NAMES }, prot: { rows: ROWS, names: [NAMES[0], "other"] } };
  expect(question(studyOf({ obsm: both }))).toMatchObject({ found: "adt" });
  const equal = { ...both, prot: both.adt };
  expect(question(studyOf({ obsm: equal }))).toMatchObject({
    found: null,
    why: expect.stringMatching(/obsm adt and in obsm prot/),
  });
});

test("a model that was trained without names takes columns without names", () => {
  const study = studyOf({ obsm: { adt: { rows: ROWS, names: null } } });
  expect(plan(study, cardOf({ proteins: ["0", "1"] }), NO_CHOICE).proteins?.names).toEqual(["0", "1"]);
});

test("a modality comes first", async () => {
  const mine = studyOf({ obsm: { adt: { rows: ROWS, names: NAMES } } }, tableOf({ genes: [...NAMES, "a", "b"] }));
  expect(question(mine)).toMatchObject({ found: "modality" });
  const { proteins } = plan(
    await openFiles([fileOf("both.h5mu")]),
    cardOf({ genes: ["GENE1"], proteins: ["CD14", "CD3"] }),
    NO_CHOICE,
  );
  expect([[...(proteins?.target ?? [])], proteins?.names, proteins?.extra]).toEqual([
    [1, -1, 0],
    ["CD14", "CD3"],
    ["CD19"],
  ]);
  expect(proteins && dense(proteins.matrix)).toEqual(expected["both.h5mu"].prot.layers.X);
});

test("a model without proteins asks for none", () => {
  expect(question(studyOf(), cardOf())).toBeUndefined();
  expect(plan(studyOf(), cardOf(), NO_CHOICE).proteins).toBeNull();
});

test("the proteins of an h5ad file that python wrote are found by their names in uns", async () => {
  const study = await openFiles([fileOf("cells.h5ad")]);
  const { proteins, nCells } = plan(study, cardOf({ genes: ["GENE2"], proteins: ["CD19"] }), {
    ...NO_CHOICE,
    layer: "columns",
  });
  expect([nCells, proteins?.place, proteins?.names, proteins?.extra]).toEqual([
    13,
    "obsm protein_expression",
    ["CD19"],
    ["CD3", "CD14"],
  ]);
});

describe("proteins under other names", () => {
  const card = cardOf({ proteins: ["CD3_TotalSeqB", "CD4_TotalSeqB", "PD-1_TotalSeqB"] });
  const rows = [
    [1, 2, 3],
    [4, 5, 6],
    [7, 8, 9],
  ];
  const hintsOf = (names: string[]) =>
    plan(studyOf({ obsm: { protein_expression: { rows, names } } }), card, NO_CHOICE).hints;

  test("beside known ones are hinted at", () => {
    expect(hintsOf(["CD3_TotalSeqB", "CD4", "PD-1"])).toEqual([
      '2 missing proteins are probably in obsm protein_expression under other names: "CD4" may be the model\'s "CD4_TotalSeqB", "PD-1" may be ' +
        'the model\'s "PD-1_TotalSeqB"; rename them in the file if so, as each counts as 0 until then.',
    ]);
    expect(hintsOf(["CD3_TotalSeqB", "CD4", "PD-1_TotalSeqB"])).toEqual([
      expect.stringMatching(/^1 missing protein is probably in .* under another name: "CD4" .* rename it in the file/),
    ]);
  });

  test("are no matter where nothing is missing, or nothing is like it", () => {
    expect(hintsOf(card.proteins)).toEqual([]);
    expect(hintsOf(["CD3_TotalSeqB", "CD11", "CD12"])).toEqual([]);
    expect(plan(studyOf(), card, { ...NO_CHOICE, proteins: "none" }).hints).toEqual([]);
  });

  test("at another key are an option with a problem, and named where none are found", () => {
    const study = studyOf({
      obsm: {
        X_pca: { rows, names: null },
        my_abs: { rows, names: ["CD3", "CD4", "PD-1"] },
        scores: { rows, names: ["T", "B", "NK"] },
      },
    });
    const asked = question(study, card);
    expect(asked).toMatchObject({ found: null });
    expect(asked?.options.map(({ value, label, problem }) => [value, label, problem === ""])).toEqual([
      ["my_abs", "obsm my_abs", false],
      ["scores", "obsm scores", false],
      ["none", "No proteins were measured: each counts 0, which shifts the cells", true],
    ]);
    expect(asked?.options[0].problem).toMatch(
      /none of the model's 3 proteins is in obsm my_abs.*"CD3" may be the model's "CD3_TotalSeqB".*rename them/,
    );
    expect(asked?.why).toMatch(
      /They are probably in obsm my_abs under other names: "CD3" may be.*rename them in the file if so\. If they are in obsm scores, rename its columns as the model does: they are called "T", "B", "NK"\. If none were measured/,
    );
    expect(() => plan(study, card, { ...NO_CHOICE, proteins: "my_abs" })).toThrow(/rename them in the file if so/);
  });

  test("a place of more proteins than the usual one is asked about", () => {
    const study = studyOf({
      obsm: { adt: { rows, names: ["CD3_TotalSeqB", "x", "y"] }, mine: { rows, names: card.proteins } },
    });
    expect(question(study, card)).toMatchObject({
      found: null,
      why: "1 of the model's 3 proteins is in obsm adt, but 3 in obsm mine: choose where the raw counts are.",
    });
    expect(() => plan(study, card, NO_CHOICE)).toThrow(/choose where/);
    expect(plan(study, card, { ...NO_CHOICE, proteins: "adt" }).proteins?.names).toEqual(["CD3_TotalSeqB"]);
  });

  test("a usual place that is no good does not hide another", () => {
    const study = studyOf({ obsm: { adt: { rows, names: ["x", "y", "z"] }, mine: { rows, names: card.proteins } } });
    expect(question(study, card)?.why).toMatch(/is in obsm adt.*If the raw counts are in obsm mine, choose it\./);
  });
});

test("columns beside the genes are told in the plural", () => {
  const study = studyOf({ genes: ["LYZ", ...CARD.proteins, "CD3E"] });
  expect(question(study)?.why).toBe("2 of the model's 2 proteins are in the columns beside the genes");
});
