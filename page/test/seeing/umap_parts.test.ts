import { expect, test } from "vitest";
import { graphOf, strengthsOf } from "../../src/seeing/fuzzy_graph";
import { neighboursOf } from "../../src/seeing/neighbours";
import { seededRandom } from "../../src/seeing/random";
import { A, B, Layout } from "../../src/seeing/umap_layout";

function cells(nCells: number, nLatent: number): Float32Array {
  const random = seededRandom(3);
  return Float32Array.from({ length: nCells * nLatent }, () => random());
}

/** By comparing with all. */
function nearest(z: Float32Array, nLatent: number, k: number, cell: number): [number, number][] {
  const all = Array.from({ length: z.length / nLatent }, (_, other): [number, number] => {
    let square = 0;
    for (let i = 0; i < nLatent; i++) square += (z[cell * nLatent + i] - z[other * nLatent + i]) ** 2;
    return [other, Math.sqrt(square)];
  });
  return all
    .filter(([other]) => other !== cell)
    .sort((a, b) => a[1] - b[1])
    .slice(0, k);
}

test("few cells get exactly their nearest ones, nearest first", () => {
  const z = cells(200, 4);
  const found = neighboursOf(z, 200, 4, 7);
  for (const cell of [0, 57, 199]) {
    const wanted = nearest(z, 4, 7, cell);
    expect(Array.from(found.cells.subarray(cell * 7, cell * 7 + 7))).toEqual(wanted.map(([other]) => other));
    for (const [i, [, distance]] of wanted.entries()) expect(found.distances[cell * 7 + i]).toBeCloseTo(distance, 5);
  }
});

test("of many cells, nearly all of the nearest ones are found", () => {
  const z = cells(5000, 8);
  const found = neighboursOf(z, 5000, 8, 10);
  let hits = 0;
  for (let cell = 0; cell < 5000; cell += 50) {
    const mine = new Set(found.cells.subarray(cell * 10, cell * 10 + 10));
    expect(mine.size).toBe(10);
    hits += nearest(z, 8, 10, cell).filter(([other]) => mine.has(other)).length;
  }
  expect(hits / 1000).toBeGreaterThan(0.95);
});

test("equal cells are parted all the same", () => {
  const found = neighboursOf(new Float32Array(3000 * 2), 3000, 2, 5);
  expect(found.distances.every((distance) => distance === 0)).toBe(true);
});

test("strengths fall from 1 and sum up to log2 of the number of neighbours and one", () => {
  const strengths = strengthsOf(Float32Array.from([0.5, 0.6, 0.9, 1.4, 2, 2.2, 3]));
  expect(strengths[0]).toBe(1);
  expect(strengths.reduce((sum, strength) => sum + strength, 0)).toBeCloseTo(3, 4);
  for (let i = 1; i < 7; i++) expect(strengths[i]).toBeLessThan(strengths[i - 1]);
  expect(Array.from(strengthsOf(new Float32Array(4)))).toEqual([1, 1, 1, 1]);
});

test("the graph has each edge from both ends, with the weight of a or b", () => {
  // Three cells with one neighbour each: 0 and 1 name each other, 2 names 1.
  const { heads, tails, weights } = graphOf({
    k: 1,
    cells: Int32Array.from([1, 0, 1]),
    distances: Float32Array.from([1, 1, 2]),
  });
  const edges = Array.from(heads, (head, i) => `${head}-${tails[i]}:${weights[i]}`).sort();
  expect(edges).toEqual(["0-1:1", "1-0:1", "1-2:1", "2-1:1"]);
});

test("the layout's curve is near 1 up to 0.3 and falls as exp beyond", () => {
  for (let i = 0; i <= 30; i++) {
    const distance = i / 10;
    const wanted = distance < 0.3 ? 1 : Math.exp(0.3 - distance);
    expect(Math.abs(1 / (1 + A * distance ** (2 * B)) - wanted)).toBeLessThan(0.08);
  }
});

test("an edge pulls its cells together, and cells without one are pushed apart", () => {
  const graph = {
    heads: Int32Array.from([0, 1, 2, 3]),
    tails: Int32Array.from([1, 0, 3, 2]),
    weights: new Float32Array(4).fill(1),
  };
  const places = Float32Array.from([-3, 0, 3, 0, -3, 0.5, 3, 0.5]);
  const layout = new Layout(places, graph, seededRandom(1));
  for (let epoch = 0; epoch < layout.nEpochs; epoch++) layout.step();
  const far = (a: number, b: number): number =>
    Math.hypot(places[2 * a] - places[2 * b], places[2 * a + 1] - places[2 * b + 1]);
  expect(far(0, 1)).toBeLessThan(far(0, 2));
  expect(far(2, 3)).toBeLessThan(far(1, 3));
  expect(places.every(Number.isFinite)).toBe(true);
});
