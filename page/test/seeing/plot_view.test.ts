import { expect, test } from "vitest";
import type { Projection } from "../../src/seeing/contract";
import { PlotView } from "../../src/seeing/plot_view";

function seen(points: number[]): PlotView {
  const projection: Projection = { kind: "PCA", points: Float32Array.from(points), axes: ["", ""] };
  const view = new PlotView();
  view.resize(400, 300);
  view.show(projection);
  return view;
}

test("revealing an outermost cell leaves the picture of all as it is", () => {
  const view = seen([0, 0, 10, 3, 5, 9, -4, -6]);
  const before = view.camera;
  for (let cell = 0; cell < 4; cell++) {
    view.reveal(cell);
    expect(view.camera).toEqual(before);
  }
});

test("going from one of two cells to the other keeps both in the picture", () => {
  const view = seen([0, 0, 1, 0]);
  expect(view.cellTowards(0, 1, 0)).toBe(1);
  view.reveal(1);
  for (const cell of [0, 1]) {
    const [x, y] = view.pixelOf(cell)!;
    expect(x).toBeGreaterThan(0);
    expect(x).toBeLessThan(400);
    expect(y).toBe(150);
  }
});

test("a cell outside the picture comes to its middle, at the same zoom", () => {
  const view = seen([0, 0, 10, 3, 5, 9, -4, -6]);
  view.zoom(20);
  const { scale } = view.camera;
  view.reveal(2);
  expect(view.pixelOf(2)![0]).toBeCloseTo(200, 9);
  expect(view.pixelOf(2)![1]).toBeCloseTo(150, 9);
  expect(view.camera.scale).toBe(scale);
});

test("a cell that has no place moves nothing", () => {
  const view = seen([0, 0, Number.NaN, Number.NaN, 1, 1]);
  const before = view.camera;
  view.reveal(1);
  expect(view.camera).toEqual(before);
});
