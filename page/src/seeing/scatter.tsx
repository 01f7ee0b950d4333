/** The cells as points: to look at, to move about in, to point at and to draw around. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { boundsOf } from "./camera";
import { valueText } from "./colours";
import type { Colouring, Projection } from "./contract";
import { listen, type Wishes } from "./gestures";
import type { PlotView } from "./plot_view";
import { within } from "./selection";
import "./seeing.css";

export interface ScatterProps {
  /** From `new PlotView()`, kept as long as the plot: buttons outside move it too. */
  view: PlotView;
  projection: Projection;
  colouring: Colouring;
  /** [cells]: of `coloursOf` for the colouring and the theme. */
  colours: Uint32Array;
  cellIds: readonly string[];
  /** [cells]: not 0 for the selected ones; null: no selection. */
  selected: Uint8Array | null;
  onSelect(selected: Uint8Array | null): void;
  pinned: number | null;
  /** A cell was clicked (or chosen by Enter); null: a place without one. */
  onPin(cell: number | null): void;
  /** A cell is pointed at; null: none is. */
  onHover(cell: number | null): void;
  /** Whether dragging draws around cells; dragging with Shift always does. */
  lassoing: boolean;
}

export function Scatter(props: ScatterProps) {
  const { view, projection, colouring, colours, cellIds, selected, pinned } = props;
  const box = useRef<HTMLDivElement>(null);
  const below = useRef<HTMLCanvasElement>(null);
  const above = useRef<HTMLCanvasElement>(null);
  const [hovered, setHovered] = useState<number | null>(null);
  const latest = useRef({ props, hovered });
  latest.current = { props, hovered };

  useEffect(() => {
    view.attach(below.current, above.current);
    const size = new ResizeObserver(([entry]) => view.resize(entry.contentRect.width, entry.contentRect.height));
    size.observe(box.current!);
    const wishes: Wishes = {
      hover: (cell) => {
        if (cell === latest.current.hovered) return;
        setHovered(cell);
        latest.current.props.onHover(cell);
      },
      pin: (cell) => latest.current.props.onPin(cell),
      surround: (line) => latest.current.props.onSelect(within(line, latest.current.props.projection.points)),
      leave: () => {
        latest.current.props.onSelect(null);
        latest.current.props.onPin(null);
      },
      lassoing: () => latest.current.props.lassoing,
      current: () => latest.current.hovered ?? latest.current.props.pinned,
    };
    const unlisten = listen(box.current!, view, wishes);
    return () => {
      unlisten();
      size.disconnect();
      view.attach(null, null);
    };
  }, [view]);

  useEffect(() => {
    view.show(projection);
    setHovered(null);
  }, [view, projection]);
  useEffect(() => view.paintWith(colours, selected), [view, colours, selected]);
  useEffect(() => view.mark({ hovered, pinned }), [view, hovered, pinned]);

  const count = useMemo(() => boundsOf(projection.points).count, [projection]);
  const label =
    `${projection.kind} of ${count.toLocaleString("en")} cells, coloured by ${colouring.title}; ` +
    `axes ${projection.axes[0]} and ${projection.axes[1]}. Arrows move the picture, plus and minus zoom, 0 shows all; ` +
    "Shift with arrows goes from cell to cell, Enter chooses one.";
  return (
    <div
      ref={box}
      class={props.lassoing ? "scatter lassoing" : "scatter"}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: arrows move the picture
      tabIndex={0}
      role="application"
      aria-roledescription="scatter plot"
      aria-label={label}
    >
      <canvas ref={below} />
      <canvas ref={above} />
      {hovered !== null && <Tip view={view} cell={hovered} id={cellIds[hovered]} colouring={colouring} />}
    </div>
  );
}

interface TipProps {
  view: PlotView;
  cell: number;
  id: string;
  colouring: Colouring;
}

/** What is known of the cell that is pointed at, beside it. */
function Tip({ view, cell, id, colouring }: TipProps) {
  const at = view.pixelOf(cell);
  if (at === null) return null;
  const [x, y] = at;
  const style = {
    left: x < view.width / 2 ? `${x + 14}px` : "auto",
    right: x < view.width / 2 ? "auto" : `${view.width - x + 14}px`,
    top: y < view.height / 2 ? `${y + 8}px` : "auto",
    bottom: y < view.height / 2 ? "auto" : `${view.height - y + 8}px`,
  };
  return (
    <div class="tip" style={style} aria-hidden="true">
      <strong>{id}</strong>
      <span>
        {colouring.title}: {valueText(colouring, cell)}
      </span>
    </div>
  );
}
