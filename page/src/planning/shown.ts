/** A few labels or names, for a message. */
export function shown(labels: readonly (string | number | boolean)[], most = 5): string {
  const few = labels
    .slice(0, most)
    .map((label) => (typeof label === "string" ? `"${label.slice(0, 60)}"` : String(label)));
  const rest = labels.length - few.length;
  return (few.join(", ") || "none") + (rest > 0 ? ` and ${rest} more` : "");
}

/** A count with its noun. */
export function counted(number: number, noun: string): string {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}
