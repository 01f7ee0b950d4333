import { expect, test } from "vitest";
import { indexed, Nearest } from "../../src/seeing/nearest";
import { seededRandom } from "../../src/seeing/random";

test("the nearest cell is the one that looking at all of them finds", () => {
  const random = seededRandom(4);
  const points = Float32Array.from({ length: 4000 }, () => random() * 10);
  for (let cell = 0; cell < 2000; cell += 7) points[2 * cell] = Number.NaN;
  const nearest = new Nearest(points);
  // As it comes from a worker.
  const sent = new Nearest(points, structuredClone(indexed(points)));
  for (let k = 0; k < 50; k++) {
    const [x, y] = [random() * 10, random() * 10];
    let best = -1;
    for (let cell = 0; cell < 2000; cell++) {
      const far = (at: number): number => Math.hypot(points[2 * at] - x, points[2 * at + 1] - y);
      if (Number.isFinite(points[2 * cell]) && (best < 0 || far(cell) < far(best))) best = cell;
    }
    expect(nearest.at(x, y, 3)).toBe(best);
    expect(sent.at(x, y, 3)).toBe(best);
  }
});

test("out of reach there is none, nor among no cells", () => {
  expect(new Nearest(Float32Array.from([0, 0])).at(5, 5, 1)).toBeNull();
  expect(new Nearest(new Float32Array(0)).at(0, 0, 9)).toBeNull();
  expect(new Nearest(Float32Array.from([Number.NaN, Number.NaN])).at(0, 0, 9)).toBeNull();
});

test("arrows go to the next cell in their quarter", () => {
  const nearest = new Nearest(Float32Array.from([0, 0, 2, 1, 5, 0, -1, 0.5, 0.5, 3, Number.NaN, 0]));
  expect(nearest.towards(0, 1, 0)).toBe(1);
  expect(nearest.towards(0, -1, 0)).toBe(3);
  expect(nearest.towards(0, 0, 1)).toBe(4);
  expect(nearest.towards(0, 0, -1)).toBeNull();
});
