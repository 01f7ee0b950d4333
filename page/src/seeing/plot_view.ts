/** The picture on its two canvases: the points below; axes, rings and the lasso's line above. Draws once a frame at most. */

import { drawAxes } from "./axes";
import { type Bounds, boundsOf, type Camera, fitted, panned, toPixel, toPlane, zoomed } from "./camera";
import type { Projection } from "./contract";
import { Nearest } from "./nearest";
import { brushFor, paint } from "./painter";
import { shuffled } from "./random";
import type { Corner } from "./selection";
import { type Theme, themeOf } from "./theme";

const MARGIN = 28;
/** Cells nearer to the edge count as outside; less than `MARGIN`, or showing all would not show the outermost ones. */
const EDGE = 8;
const SEED = 1;
/** Denser screens get no finer pictures: a frame's work grows with its square. */
const FINEST = 2;

export interface Marks {
  hovered: number | null;
  pinned: number | null;
  /** The lasso so far, in the plane. */
  line: Corner[];
}

export class PlotView {
  width = 0;
  height = 0;
  camera: Camera = { x: 0, y: 0, scale: 1 };
  theme: Theme | null = null;
  private whole: Camera = { x: 0, y: 0, scale: 1 };
  private moved = false;
  private ratio = 1;
  private below: HTMLCanvasElement | null = null;
  private above: HTMLCanvasElement | null = null;
  private image: ImageData | null = null;
  private projection: Projection | null = null;
  private bounds: Bounds = boundsOf(new Float32Array(0));
  private order: Uint32Array = new Uint32Array(0);
  private index: Nearest | null = null;
  private colours: Uint32Array = new Uint32Array(0);
  private selected: Uint8Array | null = null;
  private marks: Marks = { hovered: null, pinned: null, line: [] };
  private frame = 0;
  private stale = false;

  /** Where to draw; null when the plot leaves the page. */
  attach(below: HTMLCanvasElement | null, above: HTMLCanvasElement | null): void {
    this.below = below;
    this.above = above;
    this.image = null;
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.readTheme();
  }

  /** Takes up the page's colours. */
  readTheme(): void {
    this.theme = this.above === null ? null : themeOf(this.above);
    this.draw(true);
  }

  resize(width: number, height: number): void {
    const grown = this.width > 0 ? Math.min(width / this.width, height / this.height) : 1;
    [this.width, this.height] = [width, height];
    this.ratio = Math.min(FINEST, globalThis.devicePixelRatio || 1);
    this.whole = fitted(this.bounds, width, height, MARGIN);
    this.camera = this.moved ? { ...this.camera, scale: this.camera.scale * grown } : this.whole;
    this.draw(true);
  }

  show(projection: Projection): void {
    if (projection === this.projection) return;
    this.projection = projection;
    this.bounds = boundsOf(projection.points);
    this.order = shuffled(projection.points.length / 2, SEED);
    this.index = null;
    this.reset();
  }

  paintWith(colours: Uint32Array, selected: Uint8Array | null): void {
    this.colours = colours;
    this.selected = selected;
    this.draw(true);
  }

  mark(marks: Partial<Marks>): void {
    Object.assign(this.marks, marks);
    this.draw(false);
  }

  /** Shows everything. */
  reset(): void {
    this.whole = fitted(this.bounds, this.width, this.height, MARGIN);
    this.camera = this.whole;
    this.moved = false;
    this.draw(true);
  }

  pan(dx: number, dy: number): void {
    this.camera = panned(this.camera, dx, dy);
    this.moved = true;
    this.draw(true);
  }

  zoom(factor: number, px = this.width / 2, py = this.height / 2): void {
    this.camera = zoomed(this.camera, factor, px, py, this.width, this.height, this.whole.scale);
    this.moved = true;
    this.draw(true);
  }

  /** Moves the picture where the cell is outside it, so that the cell is in the middle. */
  reveal(cell: number): void {
    const at = this.pixelOf(cell);
    if (at === null) return;
    const isSeen = at[0] > EDGE && at[1] > EDGE && at[0] < this.width - EDGE && at[1] < this.height - EDGE;
    if (!isSeen) this.pan(this.width / 2 - at[0], this.height / 2 - at[1]);
  }

  /** Where a cell is, in CSS pixels; null: it is not part of the picture. */
  pixelOf(cell: number): [number, number] | null {
    const points = this.projection?.points;
    if (points === undefined || !Number.isFinite(points[2 * cell])) return null;
    return toPixel(this.camera, this.width, this.height, points[2 * cell], points[2 * cell + 1]);
  }

  planeOf(px: number, py: number): Corner {
    return toPlane(this.camera, this.width, this.height, px, py);
  }

  /** The cell within `reach` CSS pixels of a place. */
  cellAt(px: number, py: number, reach: number): number | null {
    const [x, y] = this.planeOf(px, py);
    return this.nearest.at(x, y, reach / this.camera.scale);
  }

  cellTowards(from: number | null, right: number, up: number): number | null {
    if (from !== null && this.pixelOf(from) !== null) return this.nearest.towards(from, right, up);
    const [x, y] = this.planeOf(this.width / 2, this.height / 2);
    return this.nearest.at(x, y, Number.MAX_VALUE ** 0.5);
  }

  private get nearest(): Nearest {
    this.index ??= new Nearest(this.projection?.points ?? new Float32Array(0), this.projection?.index);
    return this.index;
  }

  private draw(points: boolean): void {
    this.stale ||= points;
    if (this.frame !== 0 || this.above === null) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (this.stale) this.drawPoints();
      this.stale = false;
      this.drawMarks();
      // Once the points are seen, so that the first hover need not wait for it.
      if (this.index === null) setTimeout(() => this.nearest);
    });
  }

  private drawPoints(): void {
    const { below, projection, theme } = this;
    const [width, height] = [Math.round(this.width * this.ratio), Math.round(this.height * this.ratio)];
    if (below === null || projection === null || theme === null || width < 1 || height < 1) return;
    if (this.colours.length !== projection.points.length / 2) return;
    const context = below.getContext("2d", { alpha: false })!;
    if (this.image === null || this.image.width !== width || this.image.height !== height) {
      [below.width, below.height] = [width, height];
      this.image = context.createImageData(width, height);
    }
    const scene = {
      points: projection.points,
      colours: this.colours,
      order: this.order,
      selected: this.selected,
    };
    const pixels = new Uint32Array(this.image.data.buffer);
    const camera = { ...this.camera, scale: this.camera.scale * this.ratio };
    paint(pixels, width, height, scene, camera, this.brush(this.ratio), theme.paperPixel);
    context.putImageData(this.image, 0, 0);
  }

  /** How points look at the present zoom. */
  private brush(ratio: number) {
    return brushFor(this.bounds.count, this.camera.scale / this.whole.scale, ratio, this.theme?.dark ?? false);
  }

  private drawMarks(): void {
    const { above, theme, projection, ratio } = this;
    if (above === null || theme === null || projection === null) return;
    const [width, height] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    if (above.width !== width || above.height !== height) [above.width, above.height] = [width, height];
    const context = above.getContext("2d")!;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    drawAxes(context, projection.axes, this.height, theme);
    this.drawLine(context, theme);
    const radius = this.brush(1).radius + 4;
    this.drawRing(context, this.marks.pinned, radius + 2, theme.accent);
    this.drawRing(context, this.marks.hovered, radius, theme.ink);
  }

  private drawLine(context: CanvasRenderingContext2D, theme: Theme): void {
    if (this.marks.line.length === 0) return;
    context.beginPath();
    for (const [x, y] of this.marks.line) context.lineTo(...toPixel(this.camera, this.width, this.height, x, y));
    context.closePath();
    context.globalAlpha = 0.12;
    context.fillStyle = theme.accent;
    context.fill();
    context.globalAlpha = 1;
    context.lineWidth = 1.5;
    context.strokeStyle = theme.accent;
    context.setLineDash([5, 4]);
    context.stroke();
    context.setLineDash([]);
  }

  private drawRing(context: CanvasRenderingContext2D, cell: number | null, radius: number, colour: string): void {
    const at = cell === null ? null : this.pixelOf(cell);
    if (at === null) return;
    for (const [width, style] of [
      [5, this.theme?.paper ?? colour],
      [2, colour],
    ] as const) {
      context.beginPath();
      context.arc(at[0], at[1], radius, 0, 2 * Math.PI);
      context.lineWidth = width;
      context.strokeStyle = style;
      context.stroke();
    }
  }
}
