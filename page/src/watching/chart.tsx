/** A small chart over the last minutes: lines or bars in SVG, with its numbers in words beside it. */

import { short } from "../frame/words";

export interface Series {
  name: string;
  /** One for each interval, oldest first; null: nothing happened. */
  values: (number | null)[];
  tone: "a" | "b" | "c" | "d" | "bad";
}

interface ChartProps {
  title: string;
  unit: string;
  series: Series[];
  kind: "bars" | "lines";
  /** Intervals of the whole chart; those before the service was started are empty. */
  nIntervals: number;
  minutes: number;
}

const WIDTH = 360;
const HEIGHT = 90;

export function Chart({ title, unit, series, kind, nIntervals, minutes }: ChartProps) {
  const most = Math.max(0, ...series.flatMap((one) => one.values.map((value) => value ?? 0)));
  return (
    <figure class="chart">
      <figcaption>
        {title} <span class="soft">{unit && `(${unit})`}</span>
      </figcaption>
      <div class="row">
        {series.map((one) => (
          <span key={one.name} class="small reading">
            <span class={`swatch tone-${one.tone}`} aria-hidden="true" />
            {series.length > 1 && `${one.name} `}
            <b>{latest(one.values)}</b>
          </span>
        ))}
        <span class="small soft">most {short(most)}</span>
      </div>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
        <line class="floor" x1="0" x2={WIDTH} y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} />
        {series.map((one) =>
          kind === "bars" ? (
            <path key={one.name} class={`bar tone-${one.tone}`} d={bars(one.values, most, nIntervals)} />
          ) : (
            <path key={one.name} class={`stroke tone-${one.tone}`} d={line(one.values, most, nIntervals)} />
          ),
        )}
      </svg>
      <div class="row spread small soft" aria-hidden="true">
        <span>{Math.round(minutes)} min ago</span>
        <span>now</span>
      </div>
    </figure>
  );
}

/** The last finished interval's value. */
function latest(values: (number | null)[]): string {
  const value = values.at(-2) ?? values.at(-1) ?? null;
  return value === null ? "–" : short(value);
}

function bars(values: (number | null)[], most: number, nIntervals: number): string {
  const step = WIDTH / nIntervals;
  const before = nIntervals - values.length;
  return values
    .map((value, at) => {
      if (!value) return "";
      const height = Math.max(1, (value / most) * (HEIGHT - 4));
      return `M${((before + at) * step).toFixed(1)} ${HEIGHT}v${(-height).toFixed(1)}h${(step * 0.8).toFixed(1)}V${HEIGHT}z`;
    })
    .join("");
}

function line(values: (number | null)[], most: number, nIntervals: number): string {
  const step = WIDTH / nIntervals;
  const before = nIntervals - values.length;
  let pen = "M";
  let path = "";
  for (const [at, value] of values.entries()) {
    if (value === null) {
      pen = "M";
      continue;
    }
    const y = HEIGHT - 2 - (most > 0 ? (value / most) * (HEIGHT - 6) : 0);
    // A point by itself is drawn as a short stroke.
    path += `${pen}${((before + at) * step).toFixed(1)} ${y.toFixed(1)}h${(step * 0.6).toFixed(1)}`;
    pen = "L";
  }
  return path;
}
