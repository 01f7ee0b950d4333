/** Labels, names and counts, for a message. */

import type { LabelValue } from "../service/types";

/** A few labels or names, for a message. */
export function shown(labels: readonly LabelValue[], most = 5): string {
  const few = labels
    .slice(0, most)
    .map((label) => (typeof label === "string" ? `"${label.slice(0, 60)}"` : String(label)));
  const rest = labels.length - few.length;
  return (few.join(", ") || "none") + (rest > 0 ? ` and ${rest} more` : "");
}

/** The first of many names, as examples. */
export function examples(names: readonly string[], most = 3): string {
  return shown(names.slice(0, most));
}

/** A count with its noun: `1 cell`, `2 cells`. */
export function counted(number: number, noun: string): string {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}
