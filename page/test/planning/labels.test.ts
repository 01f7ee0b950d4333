import { describe, expect, test } from "vitest";
import type { Choice } from "../../src/planning/contract";
import { NO_CHOICE } from "../../src/planning/contract";
import { plan, questions } from "../../src/planning/plan";
import { InputError } from "../../src/reading/contract";
import { openFiles } from "../../src/reading/open";
import type { LabelValue } from "../../src/service/types";
import { fileOf } from "../reading/files";
import { cardOf, type Made, studyOf } from "./tables";

const CARD = cardOf({ batch: { key: "batch", categories: ["b1", "b2"] } });
const chosen = (labels: Choice["labels"]): Choice => ({ ...NO_CHOICE, labels });
const question = (obs: NonNullable<Made["obs"]>, card = CARD, id = "batch") =>
  questions(studyOf({ obs }), card, NO_CHOICE).find((one) => one.id === id);

describe("the batch", () => {
  test("is the column of the model's key", () => {
    const obs = { batch: ["b2", "b1", "b2"] };
    expect(question(obs)).toMatchObject({ found: "column:batch" });
    expect(plan(studyOf({ obs }), CARD, NO_CHOICE).batch).toEqual({
      kind: "each",
      categories: ["b2", "b1"],
      codes: Int32Array.of(0, 1, 0),
    });
  });

  test("may be another column, or one value for all", () => {
    const obs = { site: ["b1", "b1", "b1"], note: ["x", "y", "z"], batch: ["b1", "b9", "b8"] };
    const asked = question(obs);
    expect(asked?.found).toBeNull();
    expect(asked?.why).toMatch(
      /column batch is no good: 2 labels unknown to the model: "b9", "b8".*column site has labels/,
    );
    expect(asked?.options.map(({ value, problem }) => [value, problem === ""])).toEqual([
      ["column:site", true],
      ['value:"b1"', true],
      ['value:"b2"', true],
      ["column:note", false],
      ["column:batch", false],
    ]);
    const study = studyOf({ obs });
    expect(() => plan(study, CARD, NO_CHOICE)).toThrow(/batch in the column batch: 2 labels unknown/);
    expect(plan(study, CARD, chosen({ batch: { column: "site" } })).batch).toMatchObject({ categories: ["b1"] });
    expect(plan(study, CARD, chosen({ batch: { value: "b2" } })).batch).toEqual({ kind: "one", value: "b2" });
    expect(() => plan(study, CARD, chosen({ batch: { value: "b3" } }))).toThrow(/"b3" is unknown to the model/);
    expect(() => plan(study, CARD, chosen({ batch: { column: "nix" } }))).toThrow(/no column nix/);
    expect(() => plan(studyOf(), CARD, NO_CHOICE)).toThrow(/no column batch \(there is: nothing\)/);
  });

  test("of a cell must be there", () => {
    const obs = { batch: { kind: "categories" as const, categories: ["b1"], codes: Int32Array.of(0, -1, -1) } };
    expect(() => plan(studyOf({ obs }), CARD, NO_CHOICE)).toThrow(/2 cells have no batch in it \(cell1 and others\)/);
  });

  test("is not asked for where the encoder does not look at it", () => {
    const obs = { batch: ["b9", "b9", "b9"] };
    const blind = { ...CARD, encode_covariates: false };
    expect(question(obs, blind)).toBeUndefined();
    expect(plan(studyOf({ obs }), blind, NO_CHOICE).batch).toBeNull();
    expect(plan(studyOf({ obs }), cardOf({ batch: { key: "batch", categories: ["b1"] } }), NO_CHOICE).batch).toBeNull();
  });

  test("labels of many kinds in one column are no batch", () => {
    const many = Array.from({ length: 300 }, (_, cell) => [cell]);
    const study = studyOf({
      layers: { X: many.map(() => [1, 1, 1, 1]) },
      obs: { batch: many.map(([cell]) => `b${cell}`) },
    });
    expect(() => plan(study, CARD, NO_CHOICE)).toThrow(/more than 200 different labels/);
  });
});

describe("labels are matched by type", () => {
  const numbered = cardOf({ batch: { key: "batch", categories: [1, 2] } });
  const truths = cardOf({ batch: { key: "batch", categories: [true, false] } });
  const column = (categories: LabelValue[]) => ({
    kind: "categories" as const,
    categories,
    codes: Int32Array.of(0, 1, 0),
  });

  test("numbers are the model's numbers", () => {
    expect(plan(studyOf({ obs: { batch: [2, 1, 2] } }), numbered, NO_CHOICE).batch).toEqual({
      kind: "each",
      categories: [2, 1],
      codes: Int32Array.of(0, 1, 0),
    });
    expect(question({ batch: [2, 1, 2] }, numbered)?.options.map(({ value }) => value)).toEqual([
      "column:batch",
      "value:1",
      "value:2",
    ]);
  });

  test("text of digits is not, nor are truths, and the column is to be converted", () => {
    expect(() => plan(studyOf({ obs: { batch: ["2", "1", "2"] } }), numbered, NO_CHOICE)).toThrow(
      /they are text and the model's are numbers: convert the column, e.g. adata.obs\["batch"\].astype\(int\)/,
    );
    expect(() => plan(studyOf({ obs: { batch: column([true, false]) } }), numbered, NO_CHOICE)).toThrow(
      /2 labels unknown/,
    );
    expect(() => plan(studyOf({ obs: { batch: [1, 0, 1] } }), truths, NO_CHOICE)).toThrow(/2 labels unknown/);
    expect(plan(studyOf({ obs: { batch: column([false, true]) } }), truths, NO_CHOICE).batch).toMatchObject({
      categories: [false, true],
    });
  });
});

describe("covariates", () => {
  const card = cardOf({
    categorical_covariates: [
      { key: "sex", categories: ["f", "m"] },
      { key: "site", categories: ["one"] },
    ],
    continuous_covariates: ["age"],
  });
  const obs = { "rna:sex": ["f", "m", "f"], years: [30, 40.5, 50], word: ["x", "y", "z"] };

  test("are asked for by their key, as far as the encoder looks at them", () => {
    expect(questions(studyOf({ obs }), card, NO_CHOICE).map(({ id }) => id)).toEqual([
      "layer",
      "covariate:sex",
      "covariate:age",
    ]);
    expect(question(obs, card, "covariate:sex")).toMatchObject({ found: "column:rna:sex" });
    const age = question(obs, card, "covariate:age");
    expect(age).toMatchObject({ found: null, typed: "number" });
    expect(age?.options.filter(({ problem }) => problem === "").map(({ value }) => value)).toEqual(["column:years"]);
  });

  test("are planned from a column or a number", () => {
    const study = studyOf({ obs });
    const found = plan(study, card, chosen({ "covariate:age": { column: "years" } }));
    expect(found.categorical).toEqual({ sex: { kind: "each", categories: ["f", "m"], codes: Int32Array.of(0, 1, 0) } });
    expect(found.continuous).toEqual({ age: { kind: "each", values: Float64Array.of(30, 40.5, 50) } });
    expect(plan(study, card, chosen({ "covariate:age": { value: 3 } })).continuous).toEqual({
      age: { kind: "one", value: 3 },
    });
    expect(() => plan(study, card, NO_CHOICE)).toThrow(/needs the number age.*type one number/);
    expect(() => plan(study, card, chosen({ "covariate:age": { value: "3" } }))).toThrow(/is a number, not "3"/);
    expect(() => plan(study, card, chosen({ "covariate:age": { column: "word" } }))).toThrow(
      /must be a number for each cell, and cell0 has none/,
    );
  });

  test("a number that is missing is told with its cell", () => {
    const study = studyOf({ obs: { ...obs, age: [1, Number.NaN, 2] } });
    expect(question({ age: [1, Number.NaN, 2] }, card, "covariate:age")?.why).toMatch(
      /1 cell without a number \(cell1\)/,
    );
    expect(() => plan(study, card, NO_CHOICE)).toThrow(/cell1 has none in the column age/);
  });
});

test("a column that cannot be read is a problem of that column alone", () => {
  const study = studyOf({ obs: { batch: ["b1", "b2", "b1"], odd: ["x", "y", "z"] } });
  const read = study.genes.obsColumn.bind(study.genes);
  study.genes.obsColumn = (name) => {
    if (name === "odd") {
      throw new InputError("of a kind that cannot be read");
    }
    return read(name);
  };
  const asked = questions(study, CARD, NO_CHOICE).find(({ id }) => id === "batch");
  expect(asked).toMatchObject({ found: "column:batch" });
  expect(asked?.options.at(-1)).toMatchObject({ value: "column:odd", problem: "of a kind that cannot be read" });
});

test("columns that python wrote are matched", async () => {
  const study = await openFiles([fileOf("cells.h5ad")]);
  const card = cardOf({
    genes: ["GENE2"],
    batch: { key: "lane", categories: [1, 2, 3] },
    categorical_covariates: [
      { key: "passed", categories: [true, false] },
      { key: "lane_category", categories: ["7", "8"] },
    ],
  });
  const covariates = { "covariate:lane_category": { value: "7" } };
  const found = plan(study, card, chosen(covariates));
  expect(found.batch).toMatchObject({
    categories: [1, 2, 3],
    codes: Int32Array.from({ length: 13 }, (_, cell) => cell % 3),
  });
  expect(found.categorical.passed).toMatchObject({ categories: [true, false] });
  const asked = questions(study, card, NO_CHOICE).find(({ id }) => id === "covariate:lane_category");
  expect(asked?.why).toMatch(/they are numbers and the model's are text.*astype\(str\)/);
});

test("a covariate called as the batch, or as what every object has, is chosen by itself", () => {
  const field = (key: string) => ({ key, categories: ["x", "y"] });
  const card = cardOf({ batch: field("sample"), categorical_covariates: [field("batch"), field("constructor")] });
  const study = studyOf({ obs: { sample: ["x", "x", "y"], batch: ["y", "x", "y"], other: ["x", "x", "x"] } });
  const labels = { "covariate:batch": { column: "other" }, "covariate:constructor": { value: "y" } };
  const found = plan(study, card, chosen(labels));
  expect(found.batch).toMatchObject({ categories: ["x", "y"] });
  expect(found.categorical.batch).toMatchObject({ categories: ["x"] });
  expect(found.categorical.constructor).toEqual({ kind: "one", value: "y" });
  expect(() => plan(study, card, NO_CHOICE)).toThrow(/no column constructor/);
});
