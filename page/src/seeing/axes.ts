/** The names of the axes, drawn into the corner of a picture. */

import type { Theme } from "./theme";

export const FONT = "system-ui, sans-serif";

/** Two short arrows from the lower left corner with their names; distances have no unit, so there are no ticks. */
export function drawAxes(
  context: CanvasRenderingContext2D,
  axes: [string, string],
  height: number,
  theme: Theme,
): void {
  const [left, bottom, length] = [16, height - 16, 44];
  context.save();
  context.strokeStyle = theme.inkSoft;
  context.fillStyle = theme.inkSoft;
  context.lineWidth = 1.25;
  context.beginPath();
  context.moveTo(left, bottom - length);
  context.lineTo(left, bottom);
  context.lineTo(left + length, bottom);
  context.moveTo(left - 3, bottom - length + 5);
  context.lineTo(left, bottom - length);
  context.lineTo(left + 3, bottom - length + 5);
  context.moveTo(left + length - 5, bottom - 3);
  context.lineTo(left + length, bottom);
  context.lineTo(left + length - 5, bottom + 3);
  context.stroke();
  context.font = `12px ${FONT}`;
  // A rim of paper keeps the names readable over points.
  context.lineWidth = 3;
  context.strokeStyle = theme.paper;
  context.textBaseline = "middle";
  written(context, axes[0], left + length + 5, bottom);
  context.translate(left, bottom - length - 5);
  context.rotate(-Math.PI / 2);
  written(context, axes[1], 0, 0);
  context.restore();
}

function written(context: CanvasRenderingContext2D, text: string, x: number, y: number): void {
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
}
