/** The whole of seeing cells: the plot with its tools, legend, search and what is said of the selected ones. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { type CategoryColours, type Colours, coloursOf, inWords, valueText } from "./colours";
import type { Colouring, Projection } from "./contract";
import { FindCell } from "./find_cell";
import { Legend } from "./legend";
import { toPng } from "./picture";
import { PlotView } from "./plot_view";
import { Scatter } from "./scatter";
import { countOf, summaryOf } from "./selection";
import { watchTheme } from "./theme";

export interface LatentPlotProps {
  projection: Projection;
  colouring: Colouring;
  cellIds: readonly string[];
  /** [cells]: not 0 for the selected ones; null: no selection. */
  selected: Uint8Array | null;
  onSelect(selected: Uint8Array | null): void;
  /** The cell whose posterior is shown. */
  pinned: number | null;
  onPin(cell: number | null): void;
  /** Above a saved picture, such as the names of the file and of the model. */
  title: string;
  /** Takes the picture as it is seen, a PNG; left out, there is no button for it. */
  onPicture?(png: Promise<Blob>): void;
}

export function LatentPlot(props: LatentPlotProps) {
  const { projection, colouring, cellIds, selected, onSelect, pinned, onPin, title, onPicture } = props;
  const [view] = useState(() => new PlotView());
  const [lassoing, setLassoing] = useState(false);
  const [hovered, setHovered] = useState<number | null>(null);
  const dark = useDark(view);
  const colours = useMemo(() => coloursOf(colouring, dark), [colouring, dark]);
  const find = (cell: number): void => {
    onPin(cell);
    view.reveal(cell);
  };
  const save = (): void => {
    const { width, height, camera, theme } = view;
    if (theme === null) return;
    onPicture?.(toPng({ title, projection, colouring, selected, theme, camera, width, height }));
  };
  const told = hovered ?? pinned;
  return (
    <div class="plot">
      <div class="tools" role="toolbar" aria-label="Picture">
        <button type="button" onClick={() => view.zoom(1.5)} aria-label="Zoom in">
          +
        </button>
        <button type="button" onClick={() => view.zoom(1 / 1.5)} aria-label="Zoom out">
          −
        </button>
        <button type="button" onClick={() => view.reset()}>
          Show all
        </button>
        <button type="button" aria-pressed={lassoing} onClick={() => setLassoing(!lassoing)}>
          Draw around cells
        </button>
        <button type="button" disabled={selected === null} onClick={() => onSelect(null)}>
          Clear selection
        </button>
        <span class="gap" />
        {onPicture && (
          <button type="button" onClick={save}>
            Picture as PNG
          </button>
        )}
      </div>
      <div class="main">
        <Scatter
          view={view}
          projection={projection}
          colouring={colouring}
          colours={colours.colours}
          cellIds={cellIds}
          selected={selected}
          onSelect={onSelect}
          pinned={pinned}
          onPin={onPin}
          onHover={setHovered}
          lassoing={lassoing}
        />
        <p class="told" role="status">
          {told === null ? (
            <span>Point at a cell to see what it is; click it for its posterior.</span>
          ) : (
            <>
              <strong>{cellIds[told]}</strong> {told === pinned ? "(chosen)" : ""} {colouring.title}:{" "}
              {valueText(colouring, told)}
              {Number.isFinite(projection.points[2 * told]) ? "" : " – not in this picture"}
            </>
          )}
        </p>
        <p class="soft moving">
          Drag to move. Zoom with Ctrl or ⌘ and the wheel, or with the wheel alone once the plot was clicked.
        </p>
        {projection.note && <p class="soft">{projection.note}</p>}
      </div>
      <div class="side">
        <Legend colouring={colouring} colours={colours} selected={selected} onSelect={onSelect} />
        <Picked selected={selected} colouring={colouring} colours={colours} />
        <FindCell cellIds={cellIds} onFind={find} />
      </div>
    </div>
  );
}

/** Whether the page is dark now. */
function useDark(view: PlotView): boolean {
  const [dark, setDark] = useState(false);
  useEffect(() => {
    const read = (): void => {
      view.readTheme();
      setDark(view.theme?.dark ?? false);
    };
    read();
    return watchTheme(read);
  }, [view]);
  return dark;
}

interface PickedProps {
  selected: Uint8Array | null;
  colouring: Colouring;
  colours: Colours;
}

/** Categories that are named one by one. */
const NAMED = 8;

/** How many cells are selected, and what they are. */
function Picked({ selected, colouring, colours }: PickedProps) {
  const summary = useMemo(
    () => (selected === null ? null : summaryOf(selected, colouring, categoriesOf(colours))),
    [selected, colouring, colours],
  );
  if (selected === null || summary === null) return null;
  const n = countOf(selected);
  const share = (100 * n) / selected.length;
  return (
    <section class="picked" aria-label="Selected cells">
      <h3>Selected</h3>
      <p role="status">
        {n.toLocaleString("en")} of {selected.length.toLocaleString("en")} cells ({inWords(share)} %)
      </p>
      {typeof summary === "number" ? (
        <p class="soft">
          Mean of {colouring.title}: {inWords(summary)}
        </p>
      ) : (
        <ul>
          {summary.slice(0, NAMED).map(({ label, count, share }) => (
            <li key={label}>
              <span>{label}</span>
              <span>
                {count.toLocaleString("en")} ({(100 * share).toFixed(1)} %)
              </span>
            </li>
          ))}
          {summary.length > NAMED && <li>and {summary.length - NAMED} more</li>}
        </ul>
      )}
    </section>
  );
}

function categoriesOf(colours: Colours): CategoryColours | null {
  return colours.kind === "categories" ? colours : null;
}
