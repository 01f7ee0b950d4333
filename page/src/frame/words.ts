/** Numbers and lists as people read them. */

export { counted } from "../planning/shown";

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 3 });

export function whole(value: number): string {
  return WHOLE.format(value);
}

export function short(value: number): string {
  return SHORT.format(value);
}

export function percent(share: number): string {
  // Never 100 % where something is missing.
  const value = share < 1 ? Math.min(99.9, Math.floor(share * 1000) / 10) : 100;
  return `${value} %`;
}

export function duration(seconds: number): string {
  if (seconds < 0.1) return "less than 0.1 s";
  if (seconds < 90) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
