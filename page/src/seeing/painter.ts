/** Draws points into pixels: round, antialiased, translucent; no canvas needed, so it is the same everywhere. */

import type { Camera } from "./camera";
import { packed } from "./palette";

export interface Scene {
  /** [2 x cells]: x, y; NaN for cells that are not drawn. */
  points: Float32Array;
  /** [cells]: 0xffBBGGRR. */
  colours: Uint32Array;
  /** [drawn]: cells, the last one on top. */
  order: Uint32Array;
  /** [cells]: not 0 for the selected ones, which keep their colour and lie on top; null: no selection. */
  selected: Uint8Array | null;
}

export interface Brush {
  /** In pixels of the picture. */
  radius: number;
  /** 0 to 1. */
  opacity: number;
  /** 0xffBBGGRR, of cells that are not selected where others are. */
  unselected: number;
  unselectedOpacity: number;
}

/** How points look good: smaller with more of them, larger the closer one looks. */
export function brushFor(count: number, zoom: number, pixelRatio: number, dark: boolean): Brush {
  const closer = Math.max(1, zoom);
  const radius = Math.min(7, Math.min(5, Math.max(1.1, 12 * Math.max(1, count) ** -0.2)) * closer ** 0.35);
  const opacity = 0.9 - 0.14 * (Math.log10(Math.max(1, count)) - 3) + 0.08 * Math.log2(closer);
  return {
    radius: radius * pixelRatio,
    opacity: Math.min(0.92, Math.max(0.5, opacity)),
    unselected: paleOf(dark),
    unselectedOpacity: UNSELECTED_OPACITY,
  };
}

/** Of cells that are not selected where others are: on light and on dark paper. */
const UNSELECTED = { light: packed(0xb9c0c7), dark: packed(0x4a525b) };
const UNSELECTED_OPACITY = 0.35;

/** The colour of cells that are not selected, by the paper. */
export function paleOf(dark: boolean): number {
  return dark ? UNSELECTED.dark : UNSELECTED.light;
}

/** Where in a pixel a disc's middle may lie, in each direction. */
const PHASES = 4;

/** A disc as pixels around its middle, with how much of each it covers (0 to 256). */
interface Disc {
  reach: number;
  /** By phase: offsets of pixels. */
  dx: Int32Array[];
  dy: Int32Array[];
  /** By phase: dy * width + dx. */
  offset: Int32Array[];
  /** By phase: cover times opacity, 0 to 256. */
  alpha: Int32Array[];
}

function disc(radius: number, opacity: number, width: number): Disc {
  const reach = Math.ceil(radius + 1);
  const made: Disc = { reach, dx: [], dy: [], offset: [], alpha: [] };
  for (let phase = 0; phase < PHASES * PHASES; phase++) {
    const middleX = ((phase % PHASES) + 0.5) / PHASES;
    const middleY = (Math.floor(phase / PHASES) + 0.5) / PHASES;
    const found: [number, number, number][] = [];
    for (let y = -reach; y <= reach; y++) {
      for (let x = -reach; x <= reach; x++) {
        const distance = Math.hypot(x + 0.5 - middleX, y + 0.5 - middleY);
        const alpha = Math.round(Math.min(1, Math.max(0, radius + 0.5 - distance)) * opacity * 256);
        if (alpha > 0) found.push([x, y, alpha]);
      }
    }
    made.dx.push(Int32Array.from(found, (f) => f[0]));
    made.dy.push(Int32Array.from(found, (f) => f[1]));
    made.offset.push(Int32Array.from(found, (f) => f[1] * width + f[0]));
    made.alpha.push(Int32Array.from(found, (f) => f[2]));
  }
  return made;
}

/** `over`, 0xffBBGGRR, on `under` with alpha 0 to 256. */
export function blended(under: number, over: number, alpha: number): number {
  const rest = 256 - alpha;
  const redBlue = ((Math.imul(over & 0xff00ff, alpha) + Math.imul(under & 0xff00ff, rest)) >>> 8) & 0xff00ff;
  const green = ((Math.imul((over >>> 8) & 0xff, alpha) + Math.imul((under >>> 8) & 0xff, rest)) >>> 8) & 0xff;
  return (0xff000000 | redBlue | (green << 8)) >>> 0;
}

/** Fills `pixels` (0xffBBGGRR, row by row) with `paper` and draws the scene on it. */
export function paint(
  pixels: Uint32Array,
  width: number,
  height: number,
  scene: Scene,
  camera: Camera,
  brush: Brush,
  paper: number,
): void {
  pixels.fill(paper);
  const target = signed(pixels);
  const full = disc(brush.radius, brush.opacity, width);
  if (scene.selected === null) {
    pass(target, width, height, scene, camera, full, null, 0, null);
  } else {
    const faint = disc(brush.radius, brush.unselectedOpacity, width);
    pass(target, width, height, scene, camera, faint, scene.selected, 0, brush.unselected);
    pass(target, width, height, scene, camera, full, scene.selected, 1, null);
  }
}

function pass(
  pixels: Int32Array,
  width: number,
  height: number,
  scene: Scene,
  camera: Camera,
  mask: Disc,
  selected: Uint8Array | null,
  wanted: 0 | 1,
  one: number | null,
): void {
  const { points, order } = scene;
  const colours = signed(scene.colours);
  const { reach } = mask;
  const { scale } = camera;
  const left = width / 2 - camera.x * scale;
  const top = height / 2 + camera.y * scale;
  for (let k = 0; k < order.length; k++) {
    const cell = order[k];
    if (selected !== null && (selected[cell] !== 0 ? 1 : 0) !== wanted) continue;
    const x = points[2 * cell] * scale + left;
    const y = top - points[2 * cell + 1] * scale;
    // Written so that NaN fails too.
    if (!(x > -reach && y > -reach && x < width + reach && y < height + reach)) continue;
    const column = Math.floor(x);
    const row = Math.floor(y);
    const phase = Math.floor((x - column) * PHASES) + Math.floor((y - row) * PHASES) * PHASES;
    const colour = one === null ? colours[cell] : one | 0;
    if (column >= reach && row >= reach && column < width - reach && row < height - reach) {
      stamp(pixels, row * width + column, mask.offset[phase], mask.alpha[phase], colour);
    } else {
      const [offset, alpha] = clipped(mask, phase, column, row, width, height);
      stamp(pixels, row * width + column, offset, alpha, colour);
    }
  }
}

/** What of a disc is within the picture. */
function clipped(
  mask: Disc,
  phase: number,
  column: number,
  row: number,
  width: number,
  height: number,
): [Int32Array, Int32Array] {
  const within = (_: number, i: number): boolean => {
    const px = column + mask.dx[phase][i];
    const py = row + mask.dy[phase][i];
    return px >= 0 && py >= 0 && px < width && py < height;
  };
  return [mask.offset[phase].filter(within), mask.alpha[phase].filter(within)];
}

/** The innermost loop: as `blended`, on numbers that stay 32-bit integers for the compiler. */
function stamp(pixels: Int32Array, start: number, offset: Int32Array, alpha: Int32Array, colour: number): void {
  const redBlueOver = colour & 0xff00ff;
  const greenOver = (colour >> 8) & 0xff;
  for (let i = 0; i < alpha.length; i++) {
    const at = start + offset[i];
    const cover = alpha[i];
    const rest = 256 - cover;
    const under = pixels[at];
    const redBlue = ((Math.imul(redBlueOver, cover) + Math.imul(under & 0xff00ff, rest)) >>> 8) & 0xff00ff;
    const green = (Math.imul(greenOver, cover) + Math.imul((under >> 8) & 0xff, rest)) & 0xff00;
    pixels[at] = -0x1000000 | redBlue | green;
  }
}

function signed(values: Uint32Array): Int32Array {
  return new Int32Array(values.buffer, values.byteOffset, values.length);
}
