import { expect, test } from "vitest";
import { boundsOf, fitted, panned, toPixel, toPlane, zoomed } from "../../src/seeing/camera";

const points = Float32Array.from([0, 0, 10, 4, Number.NaN, 100, 5, Number.NaN, -10, -4]);

test("bounds leave out points without a place", () => {
  expect(boundsOf(points)).toEqual({ minX: -10, minY: -4, maxX: 10, maxY: 4, count: 3 });
  expect(boundsOf(new Float32Array(0)).count).toBe(0);
});

test("everything fits, with one scale for both axes", () => {
  const camera = fitted(boundsOf(points), 240, 200, 20);
  expect(camera).toEqual({ x: 0, y: 0, scale: 10 });
  expect(toPixel(camera, 240, 200, 10, 4)).toEqual([220, 60]);
  expect(toPixel(camera, 240, 200, -10, -4)).toEqual([20, 140]);
});

test("one cell, equal cells, none and a line of cells are shown in the middle", () => {
  for (const same of [
    [3, 4],
    [3, 4, 3, 4],
  ]) {
    const camera = fitted(boundsOf(Float32Array.from(same)), 100, 50, 10);
    expect(camera.scale).toBeGreaterThan(0);
    expect(toPixel(camera, 100, 50, 3, 4)).toEqual([50, 25]);
  }
  const empty = fitted(boundsOf(new Float32Array(0)), 100, 50, 10);
  expect(Number.isFinite(empty.scale)).toBe(true);
  const flat = fitted(boundsOf(Float32Array.from([0, 0, 8, 0])), 100, 50, 10);
  expect(flat).toEqual({ x: 4, y: 0, scale: 10 });
  expect(fitted(boundsOf(points), 0, 0, 20).scale).toBeGreaterThan(0);
});

test("pixels and plane are each other's inverse", () => {
  const camera = { x: 3, y: -2, scale: 7 };
  const [x, y] = toPlane(camera, 300, 200, ...toPixel(camera, 300, 200, 1.25, 9));
  expect(x).toBeCloseTo(1.25, 12);
  expect(y).toBeCloseTo(9, 12);
});

test("the content follows a drag", () => {
  const camera = { x: 3, y: -2, scale: 7 };
  const [px, py] = toPixel(camera, 300, 200, 1, 1);
  const after = toPixel(panned(camera, 12, -5), 300, 200, 1, 1);
  expect(after[0]).toBeCloseTo(px + 12, 9);
  expect(after[1]).toBeCloseTo(py - 5, 9);
});

test("zooming holds what is under the pointer, within limits", () => {
  const camera = { x: 3, y: -2, scale: 7 };
  const held = toPlane(camera, 300, 200, 40, 150);
  const closer = zoomed(camera, 2, 40, 150, 300, 200, 7);
  expect(closer.scale).toBe(14);
  const still = toPlane(closer, 300, 200, 40, 150);
  expect(still[0]).toBeCloseTo(held[0], 9);
  expect(still[1]).toBeCloseTo(held[1], 9);
  expect(zoomed(camera, 1e9, 40, 150, 300, 200, 7).scale).toBe(2800);
  expect(zoomed(camera, 1e-9, 40, 150, 300, 200, 7).scale).toBe(3.5);
});
