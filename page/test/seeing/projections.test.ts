import { describe, expect, test } from "vitest";
import { pca } from "../../src/seeing/pca";
import { seededRandom } from "../../src/seeing/random";
import { type UmapProgress, umap } from "../../src/seeing/umap";

const six = Float32Array.from([1, 2, 0, 2, 1, 4, 0, 3, -1, 5, -1, 2, 3, 3, 3, -2, 0, 1]);
// numpy: eigh of the centred scatter matrix, each direction with its largest part positive.
const SCORES = [
  [-1.333551, 0.832573],
  [1.775022, -0.87019],
  [-2.897305, 1.575379],
  [3.671177, -0.651573],
  [1.647674, 1.568296],
  [-2.863017, -2.454486],
];

describe("pca", () => {
  test("gives numpy's scores and shares", () => {
    const { points, axes, kind, note } = pca(six, 6, 3);
    expect(kind).toBe("PCA");
    expect(axes).toEqual(["PC1 (63 %)", "PC2 (21 %)"]);
    expect(note).toBeUndefined();
    for (const [i, value] of SCORES.flat().entries()) expect(points[i]).toBeCloseTo(value, 5);
  });

  test("does not mind a large offset", () => {
    const { points } = pca(
      six.map((value) => value + 4096),
      6,
      3,
    );
    for (const [i, value] of SCORES.flat().entries()) expect(points[i]).toBeCloseTo(value, 5);
  });

  test("leaves out cells with values that are no numbers, and says so", () => {
    const { points, note } = pca(Float32Array.from([...six, 1, Number.NaN, 2]), 7, 3);
    for (const [i, value] of SCORES.flat().entries()) expect(points[i]).toBeCloseTo(value, 5);
    expect(points[12]).toBeNaN();
    expect(points[13]).toBeNaN();
    expect(note).toBe("1 of 7 cells are not shown: their latent values are no numbers.");
  });

  test.each([
    ["no cells", [], 0, 3],
    ["one cell", [1, 2, 3], 1, 3],
    ["equal cells", [1, 2, 1, 2, 1, 2], 3, 2],
    ["one dimension", [1, 2, 4], 3, 1],
  ])("of %s has a place for each", (_, z, nCells, nLatent) => {
    const { points, axes } = pca(Float32Array.from(z), nCells, nLatent);
    expect(points).toHaveLength(2 * nCells);
    expect(points.every(Number.isFinite)).toBe(true);
    if (nLatent === 1) {
      expect(axes).toEqual(["PC1 (100 %)", "no second dimension"]);
      expect(points[2] - points[0]).toBeCloseTo(1, 6);
      expect(points[4] - points[2]).toBeCloseTo(2, 6);
    }
  });
});

describe("umap", () => {
  const random = seededRandom(9);
  const nCells = 90;
  // Three groups in five dimensions, far from each other.
  const z = Float32Array.from({ length: nCells * 5 }, (_, i) => {
    const cell = Math.floor(i / 5);
    return (i % 5 === cell % 3 ? 10 : 0) + random();
  });
  const place = (points: Float32Array, cell: number): [number, number] => [points[2 * cell], points[2 * cell + 1]];
  const far = (a: [number, number], b: [number, number]): number => Math.hypot(a[0] - b[0], a[1] - b[1]);

  test("keeps groups together, is the same every time and tells how far it is", () => {
    const told: UmapProgress[] = [];
    const one = umap(z, nCells, 5, (now) => told.push(now));
    const two = umap(z, nCells, 5, () => {});
    expect(one).toEqual(two);
    expect(one.kind).toBe("UMAP");
    expect(one.note).toBeUndefined();
    for (let cell = 3; cell < nCells; cell++) {
      const here = place(one.points, cell);
      const own = far(here, place(one.points, cell % 3));
      const others = [1, 2].map((step) => far(here, place(one.points, (cell + step) % 3)));
      expect(own).toBeLessThan(Math.min(...others));
    }
    expect(told[0]).toEqual({ stage: "finding neighbours", epoch: 0, nEpochs: 0 });
    const epochs = told.slice(1);
    expect(epochs.map((now) => now.epoch)).toEqual(epochs.map((_, i) => i));
    expect(epochs[0].nEpochs).toBe(epochs.length);
  });

  test("of many takes some at random, and says so", () => {
    const { points, note } = umap(z, nCells, 5, () => {}, 40);
    const shown = Array.from({ length: nCells }, (_, cell) => cell).filter((cell) => Number.isFinite(points[2 * cell]));
    expect(shown).toHaveLength(40);
    expect(shown.some((cell) => cell >= 45)).toBe(true);
    expect(note).toBe("UMAP of 40 of 90 cells, drawn at random; the others are not shown.");
  });

  test("leaves out cells with values that are no numbers", () => {
    const holed = z.slice();
    holed[7 * 5 + 2] = Number.NaN;
    const { points, note } = umap(holed, nCells, 5, () => {});
    expect(points[14]).toBeNaN();
    expect(points.filter(Number.isFinite)).toHaveLength(2 * (nCells - 1));
    expect(note).toContain("1 of 90 cells are not shown");
  });

  test("of a handful of cells, some of them the same, has places", () => {
    const few = Float32Array.from([0, 0, 0, 0, 1, 1, 1, 1, 5, 5]);
    expect(umap(few, 5, 2, () => {}).points.every(Number.isFinite)).toBe(true);
  });

  test("says what is wrong where there is nothing to lay out", () => {
    expect(() => umap(six.slice(0, 6), 2, 3, () => {})).toThrow("at least 5 cells, and there are 2");
    expect(() => umap(new Float32Array(40).fill(3), 20, 2, () => {})).toThrow("the same latent values");
  });
});
