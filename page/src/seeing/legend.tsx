/** What the colours mean. Categories are buttons that select their cells. */

import { useEffect, useMemo, useRef } from "preact/hooks";
import { type CategoryColours, type Colours, inWords, type NumberColours } from "./colours";
import type { CategoryColouring, Colouring } from "./contract";
import { css } from "./palette";
import { chosenEntries, ofEntry } from "./selection";

export interface LegendProps {
  colouring: Colouring;
  colours: Colours;
  selected: Uint8Array | null;
  onSelect(selected: Uint8Array | null): void;
}

export function Legend({ colouring, colours, selected, onSelect }: LegendProps) {
  return (
    <section class="legend" aria-label={`Colours: ${colours.title}`}>
      <h3>{colours.title}</h3>
      {colours.kind === "numbers" ? (
        <Scale colours={colours} />
      ) : (
        <Categories
          colouring={colouring as CategoryColouring}
          colours={colours}
          selected={selected}
          onSelect={onSelect}
        />
      )}
      {selected !== null && <p class="soft">Pale: not selected.</p>}
    </section>
  );
}

interface CategoriesProps {
  colouring: CategoryColouring;
  colours: CategoryColours;
  selected: Uint8Array | null;
  onSelect(selected: Uint8Array | null): void;
}

function Categories({ colouring, colours, selected, onSelect }: CategoriesProps) {
  const pressed = useMemo(() => chosenEntries(selected, colouring, colours.entries), [colours, colouring, selected]);
  return (
    <ul>
      {colours.entries.map((entry, at) => (
        <li key={entry.categories[0] ?? -1}>
          <button
            type="button"
            aria-pressed={pressed[at]}
            title={`Select these ${entry.count.toLocaleString("en")} cells`}
            onClick={() => onSelect(pressed[at] ? null : ofEntry(entry, colouring))}
          >
            <span class="swatch" style={{ backgroundColor: css(entry.colour) }} />
            <span class="name">{entry.label}</span>
            <span class="count">{entry.count.toLocaleString("en")}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}

function Scale({ colours }: { colours: NumberColours }) {
  if (Number.isNaN(colours.low)) return <p>No cell has a finite value.</p>;
  const cut = colours.low > colours.min || colours.high < colours.max;
  return (
    <>
      <Shades scale={colours.scale} />
      <p class="ticks">
        <span>{inWords(colours.low)}</span>
        <span>{inWords((colours.low + colours.high) / 2)}</span>
        <span>{inWords(colours.high)}</span>
      </p>
      {cut && (
        <p class="soft">
          From the 1st to the 99th percentile; all values lie from {inWords(colours.min)} to {inWords(colours.max)}.
        </p>
      )}
      {colours.missing > 0 && <p class="soft">Grey: {colours.missing.toLocaleString("en")} cells without a value.</p>}
    </>
  );
}

/** The scale from low to high. */
function Shades({ scale }: { scale: Uint32Array }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const context = canvas.current!.getContext("2d")!;
    const image = context.createImageData(scale.length, 1);
    new Uint32Array(image.data.buffer).set(scale);
    context.putImageData(image, 0, 0);
  }, [scale]);
  return <canvas ref={canvas} class="scale" width={scale.length} height={1} />;
}
