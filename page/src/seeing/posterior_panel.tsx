/** What the model knows of one cell: for each dimension the mean, the interval and the draws. */

import { inWords } from "./colours";
import type { Posterior } from "./contract";

export interface PosteriorPanelProps {
  posterior: Posterior;
  /** Of the model's card: `normal`, or `ln` (logistic normal). */
  latentDistribution: string;
}

const WIDTH = 360;
const LEFT = 34;
const RIGHT = 14;
const TOP = 22;
const ROW = 20;
/** Of the normal distribution: 95 % lie within so many standard deviations. */
const REACH = 1.96;

export function PosteriorPanel({ posterior, latentDistribution }: PosteriorPanelProps) {
  const { cellId, mean, variance, samples, seed } = posterior;
  const nDraws = mean.length > 0 ? samples.length / mean.length : 0;
  const rows = intervalsOf(posterior);
  return (
    <section class="posterior" aria-label={`Posterior of ${cellId}`}>
      <h3>Posterior of {cellId}</h3>
      <Picture posterior={posterior} rows={rows} />
      <p class="soft">
        Dot: mean of q(z); bar: 95 % of it (mean ± 1.96 standard deviations)
        {nDraws > 0 && (
          <>
            ; small dots: {nDraws.toLocaleString("en")} draws with seed {seed}
          </>
        )}
        .{" "}
        {latentDistribution === "ln"
          ? "This model's latent distribution is logistic normal: q(z) is shown before the softmax, so these are not the proportions that the plot is made of."
          : "This model's latent distribution is normal: the mean is the cell's latent representation."}
      </p>
      <details>
        <summary>As a table</summary>
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">Dimension</th>
                <th scope="col">Mean</th>
                <th scope="col">Standard deviation</th>
                <th scope="col">95 % from</th>
                <th scope="col">to</th>
              </tr>
            </thead>
            <tbody>
              {rows.map(({ low, high }, i) => (
                <tr key={i}>
                  <th scope="row">{i + 1}</th>
                  <td>{inWords(mean[i])}</td>
                  <td>{inWords(Math.sqrt(variance[i]))}</td>
                  <td>{inWords(low)}</td>
                  <td>{inWords(high)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </section>
  );
}

interface PictureProps {
  posterior: Posterior;
  rows: { low: number; high: number }[];
}

function Picture({ posterior: { cellId, mean, samples }, rows }: PictureProps) {
  const values = [...rows.flatMap(({ low, high }) => [low, high]), ...samples].filter(Number.isFinite);
  if (values.length === 0) return <p>This cell's posterior has no numbers.</p>;
  const ticks = ticksOf(
    values.reduce((least, value) => Math.min(least, value)),
    values.reduce((most, value) => Math.max(most, value)),
  );
  const [from, to] = [ticks[0], ticks[ticks.length - 1]];
  const x = (value: number): number => round(LEFT + ((value - from) / (to - from)) * (WIDTH - LEFT - RIGHT));
  const y = (row: number): number => TOP + ROW * (row + 0.5);
  const height = TOP + ROW * mean.length + 6;
  return (
    <svg
      viewBox={`0 0 ${WIDTH} ${height}`}
      role="img"
      aria-label={`Intervals of ${mean.length} latent dimensions of ${cellId}; the table below has the numbers`}
    >
      {ticks.map((tick) => (
        <g key={tick}>
          <line class={tick === 0 ? "zero" : "grid"} x1={x(tick)} x2={x(tick)} y1={TOP - 4} y2={height} />
          <text x={x(tick)} y={TOP - 9} text-anchor="middle">
            {inWords(tick)}
          </text>
        </g>
      ))}
      {rows.map(({ low, high }, row) => (
        <g key={row}>
          <text x={LEFT - 12} y={y(row) + 4} text-anchor="end">
            z{row + 1}
          </text>
          {Number.isFinite(low) && <line class="interval" x1={x(low)} x2={x(high)} y1={y(row)} y2={y(row)} />}
          {drawsOf(samples, mean.length, row).map((value, draw) => (
            <circle key={draw} class="draw" cx={x(value)} cy={round(y(row) + spread(draw))} r={1.3} />
          ))}
          {Number.isFinite(mean[row]) && <circle class="mean" cx={x(mean[row])} cy={y(row)} r={4} />}
        </g>
      ))}
    </svg>
  );
}

/** By dimension: where 95 % of q(z) lie. */
export function intervalsOf({ mean, variance }: Posterior): { low: number; high: number }[] {
  return Array.from(mean, (middle, i) => {
    const reach = REACH * Math.sqrt(variance[i]);
    return { low: middle - reach, high: middle + reach };
  });
}

/** The draws of one dimension; more than this many dots would hide each other. */
function drawsOf(samples: Float32Array, nLatent: number, dimension: number): number[] {
  const drawn: number[] = [];
  for (let at = dimension; at < samples.length && drawn.length < 100; at += nLatent) {
    if (Number.isFinite(samples[at])) drawn.push(samples[at]);
  }
  return drawn;
}

/** Up and down by turns, so that equal draws stay apart. */
function spread(draw: number): number {
  return ((draw * 0.618) % 1) * 11 - 5.5;
}

/** Round numbers around [low, high], at most eight. */
export function ticksOf(low: number, high: number): number[] {
  const span = high > low ? high - low : 1;
  const power = 10 ** Math.floor(Math.log10(span / 4));
  const step = power * ([1, 2, 5].find((factor) => span / (factor * power) <= 6) ?? 10);
  const first = Math.floor(low / step);
  const last = Math.max(first + 1, Math.ceil(high / step));
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
