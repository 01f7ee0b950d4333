import { describe, expect, test } from "vitest";
import { checkRows } from "../../src/planning/check_rows";
import { NO_CHOICE } from "../../src/planning/contract";
import { kindOf } from "../../src/planning/number_kind";
import { plan, questions } from "../../src/planning/plan";
import { openFiles } from "../../src/reading/open";
import { fileOf } from "../reading/files";
import { cardOf, matrixOf, studyOf, tableOf } from "./tables";

const COUNTS = [
  [1, 0, 2, 3],
  [0, 5, 1, 1],
];
const LOG = COUNTS.map((row) => row.map(Math.log1p));

describe("the kind of numbers", () => {
  const wide = Array.from({ length: 20 }, (_, cell) => Array.from({ length: 12 }, (_, gene) => (cell + 3 * gene) % 7));
  test.each([
    ["counts", COUNTS],
    ["counts", [[0, 0]]],
    [
      "fractions",
      [
        [1, 2, 40.5, 3],
        [1, 2, 3, 7],
      ],
    ],
    ["normalised", wide.map((row, cell) => row.map((value) => (value * 1000) / (31 + cell)))],
    ["log-normalised", LOG],
    ["scaled", [[-0.5, 1.25]]],
    ["negative", [[-1, 2]]],
    ["not finite", [[Number.NaN, 1]]],
    ["not finite", [[Number.POSITIVE_INFINITY, 1]]],
  ])("is %s", (kind, rows) => {
    expect(kindOf(matrixOf(rows))).toBe(kind);
  });

  test("is seen in the middle of many cells", () => {
    const rows = Array.from({ length: 5000 }, (_, cell) => (cell > 2400 && cell < 2800 ? [1.5, 30] : [1, 30]));
    expect(kindOf(matrixOf(rows))).toBe("fractions");
  });
});

describe("the raw counts", () => {
  const layerOf = (layers: Record<string, number[][]>, choice = NO_CHOICE) =>
    questions(studyOf({ layers }), cardOf(), choice).find(({ id }) => id === "layer");

  test("are X where it is counts, whatever else there is", () => {
    expect(layerOf({ X: COUNTS, counts: COUNTS })).toMatchObject({ found: "X", why: "X is counts" });
  });

  test("are asked for where X is not and a layer is", () => {
    const study = studyOf({ layers: { X: LOG, counts: COUNTS } });
    const question = layerOf({ X: LOG, counts: COUNTS });
    expect(question?.found).toBeNull();
    expect(question?.why).toMatch(/X of the file looks log-normalised.*layer counts is counts: choose it/);
    expect(question?.options.map(({ value, problem }) => [value, problem === ""])).toEqual([
      ["X", false],
      ["counts", true],
    ]);
    expect(() => plan(study, cardOf(), NO_CHOICE)).toThrow(/choose it/);
    expect(plan(study, cardOf(), { ...NO_CHOICE, layer: "counts" }).counts).toBe(
      "layer counts of the file (as you chose)",
    );
    expect(() => plan(study, cardOf(), { ...NO_CHOICE, layer: "X" })).toThrow(
      /looks log-normalised.*choose another layer/,
    );
    expect(() => plan(study, cardOf(), { ...NO_CHOICE, layer: "nix" })).toThrow(
      /no layer nix; choose among: X, layer counts/,
    );
  });

  test("are raw where X is not and nothing else is", () => {
    expect(layerOf({ X: LOG, raw: COUNTS })).toMatchObject({ found: "raw" });
    expect(layerOf({ counts: COUNTS })).toMatchObject({ found: "counts" });
  });

  test("may have fractions when a person allows it", () => {
    const layers = { X: [[1, 2, 40.5, 3]] };
    expect(layerOf(layers)?.why).toMatch(/tick "Take counts with fractions"/);
    expect(layerOf(layers, { ...NO_CHOICE, allowNonInteger: true })).toMatchObject({ found: "X" });
  });

  test("are nowhere", () => {
    expect(layerOf({ X: LOG, counts: LOG })?.why).toMatch(
      /nowhere in it: looked at X, layer counts.*before sc.pp.normalize_total/,
    );
  });

  test("are not said to be missing where they cannot be read; a layer that can be is told", async () => {
    const study = await openFiles([fileOf("half.h5ad")]);
    const card = cardOf({ genes: ["0"], proteins: ["CD3"] });
    const [layer] = questions(study, card, NO_CHOICE);
    expect(layer).toMatchObject({ id: "layer", found: null });
    expect(layer.why).toMatch(
      /^X in half.h5ad is not numbers that can be read.*adata.X.astype\("float32"\).* Or choose layer counts, which is counts\.$/,
    );
    const chosen = { ...NO_CHOICE, layer: "counts" };
    const proteins = questions(study, card, chosen).find(({ id }) => id === "proteins");
    expect(proteins?.options[0]).toMatchObject({ value: "adt", problem: expect.stringMatching(/^obsm\/adt in half/) });
    expect(plan(study, card, { ...chosen, proteins: "none" }).genes.names).toEqual(["0"]);
  });

  test("no cells", () => {
    expect(() => plan(studyOf({ layers: { X: [] }, genes: [] }), cardOf(), NO_CHOICE)).toThrow(/no cells/);
  });
});

describe("each row is looked at", () => {
  const check = (rows: number[][], allow = false) =>
    checkRows(matrixOf(rows).rows(0, rows.length), 1, tableOf(), "X of the file", allow);

  test("and the first cell that is no counts is named", () => {
    expect(() =>
      check([
        [1, 2],
        [0, -1],
      ]),
    ).toThrow("X of the file has a number below zero in the cell cell2");
    expect(() =>
      check([
        [1.5, 2],
        [0, 1],
      ]),
    ).toThrow(/has 1.5, no whole number, in the cell cell1;.*tick "Take counts with fractions"/);
    expect(() =>
      check(
        [
          [1, 2],
          [Number.NaN, 1],
        ],
        true,
      ),
    ).toThrow(/missing or not finite in the cell cell2/);
    expect(() => check([[1, Number.POSITIVE_INFINITY]], true)).toThrow(/not finite/);
  });

  test("and counts pass, with fractions where they are allowed", () => {
    check([
      [1, 2],
      [0, 3],
    ]);
    check([[1.5, 2]], true);
  });
});
