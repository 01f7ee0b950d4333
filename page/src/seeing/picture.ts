/** The plot as a picture to keep: with title, axes and legend, at twice the size. */

import { drawAxes, FONT } from "./axes";
import { boundsOf, type Camera, fitted } from "./camera";
import { type Colours, coloursOf } from "./colours";
import type { Colouring, Projection } from "./contract";
import { brushFor, paint } from "./painter";
import { COLUMN, drawLines, drawScale, layoutOf, linesOf } from "./picture_legend";
import { shuffled } from "./random";
import { countOf } from "./selection";
import type { Theme } from "./theme";

export interface PictureOf {
  /** Such as the name of the file and of the model. */
  title: string;
  projection: Projection;
  colouring: Colouring;
  selected: Uint8Array | null;
  theme: Theme;
  /** The part that is seen, in pixels of `width` by `height`. */
  camera: Camera;
  /** Of the plot itself, in CSS pixels. */
  width: number;
  height: number;
}

const TWICE = 2;
const HEAD = 40;
const MARGIN = 28;

/** A PNG of the plot. */
export async function toPng(picture: PictureOf): Promise<Blob> {
  const { theme, selected, width, height } = picture;
  const colours = coloursOf(picture.colouring, theme.dark);
  const unselected = selected === null ? null : selected.length - countOf(selected);
  const lines = colours.kind === "categories" ? linesOf(colours, unselected, theme.dark) : [];
  const layout = layoutOf(lines.length, width, height);
  const side = layout.columns * COLUMN;
  const canvas = document.createElement("canvas");
  canvas.width = Math.round((width + side) * TWICE);
  canvas.height = Math.round((layout.height + HEAD) * TWICE);
  const context = canvas.getContext("2d")!;
  context.fillStyle = theme.paper;
  context.fillRect(0, 0, canvas.width, canvas.height);
  drawPoints(context, picture, colours);
  context.setTransform(TWICE, 0, 0, TWICE, 0, HEAD * TWICE);
  drawAxes(context, picture.projection.axes, height, theme);
  context.setTransform(TWICE, 0, 0, TWICE, 0, 0);
  context.textBaseline = "middle";
  context.fillStyle = theme.ink;
  context.font = `600 16px ${FONT}`;
  context.fillText(picture.title, 16, HEAD / 2, width + side - 32);
  context.setTransform(TWICE, 0, 0, TWICE, width * TWICE, HEAD * TWICE);
  context.font = `600 14px ${FONT}`;
  context.fillText(colours.title, 0, 12, side - 12);
  if (colours.kind === "categories") drawLines(context, lines, layout, theme);
  else drawScale(context, colours, unselected, theme);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => {
      if (blob === null) reject(new Error("The browser could not make the picture."));
      else resolve(blob);
    }, "image/png");
  });
}

function drawPoints(context: CanvasRenderingContext2D, picture: PictureOf, colours: Colours): void {
  const { projection, selected, theme, camera } = picture;
  const [width, height] = [Math.round(picture.width * TWICE), Math.round(picture.height * TWICE)];
  const bounds = boundsOf(projection.points);
  const whole = fitted(bounds, picture.width, picture.height, MARGIN);
  const image = context.createImageData(width, height);
  const order = shuffled(projection.points.length / 2, 1);
  const brush = brushFor(bounds.count, camera.scale / whole.scale, TWICE, theme.dark);
  const scene = { points: projection.points, colours: colours.colours, order, selected };
  const seen = { ...camera, scale: camera.scale * TWICE };
  paint(new Uint32Array(image.data.buffer), width, height, scene, seen, brush, theme.paperPixel);
  context.putImageData(image, 0, HEAD * TWICE);
}
