/** The plot as a picture to keep: with title, axes and legend, at twice the size. */

import { drawAxes, FONT } from "./axes";
import { boundsOf, type Camera, fitted } from "./camera";
import { type CategoryColours, type Colours, coloursOf, inWords, type NumberColours } from "./colours";
import type { Colouring, Projection } from "./contract";
import { brushFor, paint, UNSELECTED, UNSELECTED_OPACITY } from "./painter";
import { css } from "./palette";
import { shuffled } from "./random";
import type { Theme } from "./theme";

export interface PictureOf {
  /** Such as the name of the file and of the model. */
  title: string;
  projection: Projection;
  colouring: Colouring;
  selected: Uint8Array | null;
  theme: Theme;
  /** The part that is seen, in pixels of `width` by `height`; left out, all of it. */
  camera?: Camera;
  /** Of the plot itself, in CSS pixels. */
  width: number;
  height: number;
}

const TWICE = 2;
const SIDE = 230;
const HEAD = 40;
const MARGIN = 28;
/** Lines of the legend that fit. */
const LINE = 22;

/** A PNG of the plot. */
export async function toPng(picture: PictureOf): Promise<Blob> {
  const canvas = document.createElement("canvas");
  canvas.width = Math.round((picture.width + SIDE) * TWICE);
  canvas.height = Math.round((picture.height + HEAD) * TWICE);
  const context = canvas.getContext("2d")!;
  const { theme } = picture;
  context.fillStyle = theme.paper;
  context.fillRect(0, 0, canvas.width, canvas.height);
  const colours = coloursOf(picture.colouring, theme.dark);
  drawPoints(context, picture, colours);
  context.setTransform(TWICE, 0, 0, TWICE, 0, HEAD * TWICE);
  drawAxes(context, picture.projection.axes, picture.height, theme);
  context.setTransform(TWICE, 0, 0, TWICE, 0, 0);
  context.textBaseline = "middle";
  context.fillStyle = theme.ink;
  context.font = `600 16px ${FONT}`;
  context.fillText(picture.title, 16, HEAD / 2, picture.width + SIDE - 32);
  context.setTransform(TWICE, 0, 0, TWICE, picture.width * TWICE, HEAD * TWICE);
  context.font = `600 14px ${FONT}`;
  context.fillText(colours.title, 0, 12, SIDE - 12);
  if (colours.kind === "categories") drawCategories(context, colours, picture.height, theme);
  else drawScale(context, colours, theme);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => {
      if (blob === null) reject(new Error("The browser could not make the picture."));
      else resolve(blob);
    }, "image/png");
  });
}

function drawPoints(context: CanvasRenderingContext2D, picture: PictureOf, colours: Colours): void {
  const { projection, selected, theme } = picture;
  const [width, height] = [Math.round(picture.width * TWICE), Math.round(picture.height * TWICE)];
  const bounds = boundsOf(projection.points);
  const whole = fitted(bounds, picture.width, picture.height, MARGIN);
  const camera = picture.camera ?? whole;
  const image = context.createImageData(width, height);
  const order = shuffled(projection.points.length / 2, 1);
  const brush = {
    ...brushFor(bounds.count, camera.scale / whole.scale, TWICE),
    unselected: theme.dark ? UNSELECTED.dark : UNSELECTED.light,
    unselectedOpacity: UNSELECTED_OPACITY,
  };
  const scene = { points: projection.points, colours: colours.colours, order, selected };
  const seen = { ...camera, scale: camera.scale * TWICE };
  paint(new Uint32Array(image.data.buffer), width, height, scene, seen, brush, theme.paperPixel);
  context.putImageData(image, 0, HEAD * TWICE);
}

function drawCategories(
  context: CanvasRenderingContext2D,
  { entries }: CategoryColours,
  height: number,
  theme: Theme,
): void {
  const room = Math.max(1, Math.floor((height - 40) / LINE));
  const shown = entries.length > room ? entries.slice(0, room - 1) : entries;
  context.font = `13px ${FONT}`;
  for (const [line, entry] of shown.entries()) {
    const y = 38 + line * LINE;
    context.fillStyle = css(entry.colour);
    context.beginPath();
    context.arc(6, y, 6, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = theme.ink;
    context.fillText(`${entry.label} (${entry.count.toLocaleString("en")})`, 20, y, SIDE - 32);
  }
  if (shown.length < entries.length) {
    context.fillText(`and ${entries.length - shown.length} more`, 20, 38 + shown.length * LINE);
  }
}

function drawScale(context: CanvasRenderingContext2D, colours: NumberColours, theme: Theme): void {
  const { scale, low, high, min, max } = colours;
  const width = SIDE - 30;
  for (const [at, colour] of scale.entries()) {
    context.fillStyle = css(colour);
    context.fillRect((at * width) / scale.length, 28, width / scale.length + 0.5, 14);
  }
  context.font = `13px ${FONT}`;
  context.fillStyle = theme.ink;
  context.fillText(inWords(low), 0, 56);
  context.textAlign = "right";
  context.fillText(inWords(high), width, 56);
  context.textAlign = "left";
  context.fillStyle = theme.inkSoft;
  context.font = `12px ${FONT}`;
  if (low > min || high < max) {
    context.fillText("1st to 99th percentile; all values from", 0, 78, width);
    context.fillText(`${inWords(min)} to ${inWords(max)}`, 0, 94, width);
  }
  if (colours.missing > 0) context.fillText(`grey: ${colours.missing.toLocaleString("en")} without a value`, 0, 114);
}
