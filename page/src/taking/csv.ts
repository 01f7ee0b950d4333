/** The latents as a table: one line for each cell, with its name. */

import type { Latents } from "../encoding/latents";
import { floatText } from "./numbers";

const ROWS_A_PART = 4096;

/** Columns: cell, z_1 …, qz_mean_1 …, qz_variance_1 …, library; every number reads back to the same bits. */
export function csvOf(latents: Latents, cellIds: readonly string[]): Blob {
  const dimensions = Array.from({ length: latents.nLatent }, (_, k) => k + 1);
  const names = ["z", "qz_mean", "qz_variance"].flatMap((name) => dimensions.map((k) => `${name}_${k}`));
  const parts: string[] = [`${["cell", ...names, "library"].join(",")}\n`];
  for (let from = 0; from < latents.nCells; from += ROWS_A_PART) {
    const lines: string[] = [];
    for (let cell = from; cell < Math.min(from + ROWS_A_PART, latents.nCells); cell++) {
      const values = [quoted(cellIds[cell])];
      for (const array of [latents.z, latents.mean, latents.variance]) {
        for (let k = 0; k < latents.nLatent; k++) values.push(floatText(array[cell * latents.nLatent + k]));
      }
      values.push(floatText(latents.library[cell]));
      lines.push(values.join(","));
    }
    parts.push(`${lines.join("\n")}\n`);
  }
  return new Blob(parts, { type: "text/csv" });
}

function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
