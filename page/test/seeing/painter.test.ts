import { describe, expect, test } from "vitest";
import { blended, brushFor, paint } from "../../src/seeing/painter";
import { rgb } from "../../src/seeing/palette";
import { shuffled } from "../../src/seeing/random";

const WHITE = rgb(255, 255, 255);
const RED = rgb(255, 0, 0);
const BLUE = rgb(0, 0, 255);
const GREY = rgb(128, 128, 128);
const CAMERA = { x: 0, y: 0, scale: 1 };
const BRUSH = { radius: 2, opacity: 1, unselected: GREY, unselectedOpacity: 1 };

function painted(
  points: number[],
  colours: number[],
  options: { selected?: number[]; order?: number[]; opacity?: number; size?: number; scale?: number } = {},
): (x: number, y: number) => number {
  const size = options.size ?? 20;
  const pixels = new Uint32Array(size * size);
  const scene = {
    points: Float32Array.from(points),
    colours: Uint32Array.from(colours),
    order: Uint32Array.from(options.order ?? colours.map((_, i) => i)),
    selected: options.selected === undefined ? null : Uint8Array.from(options.selected),
  };
  const brush = { ...BRUSH, opacity: options.opacity ?? 1 };
  paint(pixels, size, size, scene, { ...CAMERA, scale: options.scale ?? 1 }, brush, WHITE);
  return (x, y) => pixels[y * size + x];
}

describe("paint", () => {
  test("draws a round disc where the point is, and nothing else", () => {
    const at = painted([0.5, -0.5], [RED]);
    expect(at(10, 10)).toBe(RED);
    expect(at(11, 10)).toBe(RED);
    expect(at(12, 12)).toBe(WHITE);
    expect(at(14, 10)).toBe(WHITE);
    // The rim is between the two.
    const rim = at(12, 10);
    expect(rim).not.toBe(RED);
    expect(rim).not.toBe(WHITE);
    expect(rim & 0xff).toBe(255);
  });

  test("covers about the area of the disc", () => {
    const at = painted([0.3, 0.1], [rgb(0, 0, 0)]);
    let dark = 0;
    for (let y = 0; y < 20; y++) for (let x = 0; x < 20; x++) dark += 1 - (at(x, y) & 0xff) / 255;
    expect(Math.abs(dark - Math.PI * 4)).toBeLessThan(0.6);
  });

  test("has y upwards", () => {
    const at = painted([0, 6], [RED]);
    expect(at(10, 4)).toBe(RED);
    expect(at(10, 16)).toBe(WHITE);
  });

  test("lays colours over each other by opacity, the last of the order on top", () => {
    const first = painted([0.5, -0.5, 0.5, -0.5], [RED, BLUE], { order: [0, 1], opacity: 0.5 });
    expect(first(10, 10)).toBe(blended(blended(WHITE, RED, 128), BLUE, 128));
    const second = painted([0.5, -0.5, 0.5, -0.5], [RED, BLUE], { order: [1, 0] });
    expect(second(10, 10)).toBe(RED);
  });

  test("greys what is not selected, and draws the selected on top of it", () => {
    const at = painted([0.5, -0.5, 0.5, -0.5, 6.5, -0.5], [RED, BLUE, BLUE], { selected: [1, 0, 0], order: [0, 1, 2] });
    expect(at(10, 10)).toBe(RED);
    expect(at(16, 10)).toBe(GREY);
  });

  test("skips points without a place and those outside, and cuts those on the edge", () => {
    const at = painted(
      [Number.NaN, 0, 0, Number.NaN, 1e9, 0, Number.POSITIVE_INFINITY, 0, -10, 0.5],
      Array(5).fill(RED),
    );
    let drawn = 0;
    for (let y = 0; y < 20; y++) for (let x = 0; x < 20; x++) if (at(x, y) !== WHITE) drawn++;
    expect(at(0, 9)).toBe(RED);
    expect(drawn).toBeGreaterThan(3);
    expect(drawn).toBeLessThan(15);
    // Nothing wraps to the other edge.
    for (let y = 0; y < 20; y++) expect(at(19, y)).toBe(WHITE);
  });
});

test("blending is exact at its ends and stays opaque", () => {
  expect(blended(RED, BLUE, 256)).toBe(BLUE);
  expect(blended(RED, BLUE, 0)).toBe(RED);
  expect(blended(0xff000000, WHITE, 128)).toBe(rgb(127, 127, 127));
});

test("points become smaller and fainter with their number, larger and denser when looked at closely", () => {
  const few = brushFor(100, 1, 1, false);
  const many = brushFor(100000, 1, 1, false);
  const near = brushFor(100000, 20, 1, false);
  expect(many.radius).toBeLessThan(few.radius);
  expect(many.opacity).toBeLessThan(few.opacity);
  expect(near.radius).toBeGreaterThan(many.radius);
  expect(near.opacity).toBeGreaterThan(many.opacity);
  expect(brushFor(100, 1, 2, false).radius).toBe(2 * few.radius);
  for (const count of [0, 1, 1e7]) expect(brushFor(count, 1, 1, false).radius).toBeGreaterThan(1);
});

test("the order of drawing is a fixed permutation that does not follow the file's", () => {
  const order = shuffled(1000, 1);
  expect(shuffled(1000, 1)).toEqual(order);
  expect(Array.from(order).sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
  const last = Array.from(order.slice(500));
  const late = last.filter((cell) => cell >= 500).length;
  expect(late).toBeGreaterThan(200);
  expect(late).toBeLessThan(300);
});
