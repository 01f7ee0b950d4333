/** The legend beside a saved picture: every colour is explained, in as many columns as that takes. */

import { FONT } from "./axes";
import { type CategoryColours, inWords, type NumberColours } from "./colours";
import { paleOf } from "./painter";
import { css } from "./palette";
import type { Theme } from "./theme";

/** In CSS pixels: of a column, of a line, of what is above and below the lines. */
export const COLUMN = 230;
const LINE = 22;
const ABOVE = 38;
const BELOW = 18;

export interface Layout {
  columns: number;
  rows: number;
  /** The least height that holds all rows. */
  height: number;
}

/** Fills the height of the plot first, then columns until the legend is as wide as the plot, then grows downwards. */
export function layoutOf(lines: number, width: number, height: number): Layout {
  const fitting = Math.max(1, Math.floor((height - ABOVE - BELOW) / LINE) + 1);
  const columns = Math.max(1, Math.min(Math.ceil(lines / fitting), Math.floor(width / COLUMN)));
  const rows = Math.ceil(lines / columns);
  return { columns, rows, height: Math.max(height, ABOVE + (rows - 1) * LINE + BELOW) };
}

/** A line of the legend of categories. */
export interface Line {
  label: string;
  colour: number;
}

/** Every entry with its cells; and what pale points are where some cells are selected. */
export function linesOf({ entries }: CategoryColours, unselected: number | null, dark: boolean): Line[] {
  const lines = entries.map(({ label, count, colour }) => ({ label: `${label} (${written(count)})`, colour }));
  return unselected === null ? lines : [...lines, { label: paleText(unselected), colour: paleOf(dark) }];
}

function paleText(unselected: number): string {
  return `pale: not selected (${written(unselected)})`;
}

function written(count: number): string {
  return count.toLocaleString("en");
}

/** From the upper left corner of `context`: a disc and a name for each line, column by column. */
export function drawLines(context: CanvasRenderingContext2D, lines: Line[], { rows }: Layout, theme: Theme): void {
  context.font = `13px ${FONT}`;
  for (const [at, { label, colour }] of lines.entries()) {
    const x = Math.floor(at / rows) * COLUMN;
    const y = ABOVE + (at % rows) * LINE;
    context.fillStyle = css(colour);
    context.beginPath();
    context.arc(x + 6, y, 6, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = theme.ink;
    context.fillText(label, x + 20, y, COLUMN - 32);
  }
}

/** The scale from low to high, and what grey and pale points are. */
export function drawScale(
  context: CanvasRenderingContext2D,
  colours: NumberColours,
  unselected: number | null,
  theme: Theme,
): void {
  const { scale, low, high, min, max, missing } = colours;
  const width = COLUMN - 30;
  const notes: string[] = [];
  if (Number.isNaN(low)) notes.push("no cell has a finite value");
  else {
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
    if (low > min || high < max) {
      notes.push("1st to 99th percentile; all values from", `${inWords(min)} to ${inWords(max)}`);
    }
  }
  if (missing > 0) notes.push(`grey: ${written(missing)} without a value`);
  if (unselected !== null) notes.push(paleText(unselected));
  context.fillStyle = theme.inkSoft;
  context.font = `12px ${FONT}`;
  for (const [line, note] of notes.entries()) context.fillText(note, 0, 78 + line * 18, width);
}
