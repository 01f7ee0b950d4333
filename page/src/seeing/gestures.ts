/** What pointers, the wheel and keys do to the plot. */

import type { PlotView } from "./plot_view";
import type { Corner } from "./selection";

export interface Wishes {
  /** A cell is pointed at, or none. */
  hover(cell: number | null): void;
  /** A cell is chosen, or none. */
  pin(cell: number | null): void;
  /** A line was drawn around cells. */
  surround(line: Corner[]): void;
  /** Escape. */
  leave(): void;
  /** Whether dragging draws a line rather than moving the picture. */
  lassoing(): boolean;
  /** The cell from which arrow keys with Shift go on. */
  current(): number | null;
}

type Place = [number, number];

const REACH = { mouse: 10, touch: 24 };
/** Pixels that a click may move. */
const STILL = 4;
const KEY_STEP = 40;
const KEY_ZOOM = 1.3;

/** Listens on the plot; returns what ends it. */
export function listen(plot: HTMLElement, view: PlotView, wishes: Wishes): () => void {
  const fingers = new Map<number, Place>();
  let start: Place = [0, 0];
  let still = true;
  let line: Corner[] | null = null;

  const placeOf = (event: MouseEvent): Place => {
    const box = plot.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const reachOf = (event: PointerEvent): number => (event.pointerType === "mouse" ? REACH.mouse : REACH.touch);
  const drawn = (next: Corner[] | null): void => {
    line = next;
    view.mark({ line: next ?? [] });
  };

  const down = (event: PointerEvent): void => {
    if (event.button !== 0) return;
    plot.setPointerCapture(event.pointerId);
    const place = placeOf(event);
    fingers.set(event.pointerId, place);
    still = fingers.size === 1;
    start = place;
    const lasso = fingers.size === 1 && (wishes.lassoing() || event.shiftKey);
    drawn(lasso ? [view.planeOf(...place)] : null);
  };

  const move = (event: PointerEvent): void => {
    const place = placeOf(event);
    const before = fingers.get(event.pointerId);
    if (before === undefined) {
      if (event.pointerType === "mouse") wishes.hover(view.cellAt(...place, REACH.mouse));
      return;
    }
    if (Math.hypot(place[0] - start[0], place[1] - start[1]) > STILL) still = false;
    if (fingers.size === 1 && !still) {
      wishes.hover(null);
      if (line === null) view.pan(place[0] - before[0], place[1] - before[1]);
      else if (Math.hypot(place[0] - before[0], place[1] - before[1]) < 2) return;
      else drawn([...line, view.planeOf(...place)]);
    } else if (fingers.size === 2) {
      pinch(event.pointerId, before, place);
    }
    if (fingers.size > 1 || !still) fingers.set(event.pointerId, place);
  };

  const pinch = (moving: number, before: Place, place: Place): void => {
    const [, other] = [...fingers].find(([id]) => id !== moving)!;
    const was = Math.hypot(before[0] - other[0], before[1] - other[1]);
    const now = Math.hypot(place[0] - other[0], place[1] - other[1]);
    view.pan((place[0] - before[0]) / 2, (place[1] - before[1]) / 2);
    if (was > 0 && now > 0) view.zoom(now / was, (place[0] + other[0]) / 2, (place[1] + other[1]) / 2);
  };

  const up = (event: PointerEvent): void => {
    if (!fingers.delete(event.pointerId)) return;
    const finished = line;
    drawn(null);
    if (still) {
      const cell = view.cellAt(...placeOf(event), reachOf(event));
      wishes.hover(cell);
      wishes.pin(cell);
    } else if (finished !== null) {
      wishes.surround(finished);
    }
    still = false;
  };

  const cancel = (event: PointerEvent): void => {
    fingers.delete(event.pointerId);
    drawn(null);
  };
  const out = (): void => wishes.hover(null);

  const wheel = (event: WheelEvent): void => {
    // Else the page scrolls: who reads down must get past the plot. Pinching on a touchpad comes with `ctrlKey`.
    if (!event.ctrlKey && !event.metaKey && !plot.matches(":focus")) return;
    event.preventDefault();
    // A wheel that counts in lines or pages moves about so many pixels.
    const pixels = event.deltaY * [1, 16, 400][event.deltaMode];
    const strength = event.ctrlKey ? 0.01 : 0.0015;
    view.zoom(Math.exp(-Math.min(400, Math.max(-400, pixels)) * strength), ...placeOf(event));
    wishes.hover(null);
  };

  const twice = (): void => view.reset();

  const key = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!pressed(event)) return;
    event.preventDefault();
  };

  const pressed = (event: KeyboardEvent): boolean => {
    const arrow = ARROWS[event.key];
    if (arrow !== undefined && event.shiftKey) {
      const next = view.cellTowards(wishes.current(), ...arrow);
      if (next !== null) {
        view.reveal(next);
        wishes.hover(next);
      }
    } else if (arrow !== undefined) view.pan(-arrow[0] * KEY_STEP, arrow[1] * KEY_STEP);
    else if (event.key === "+" || event.key === "=") view.zoom(KEY_ZOOM);
    else if (event.key === "-") view.zoom(1 / KEY_ZOOM);
    else if (event.key === "0") view.reset();
    else if (event.key === "Enter") wishes.pin(wishes.current());
    else if (event.key === "Escape") {
      drawn(null);
      still = false;
      wishes.leave();
    } else return false;
    return true;
  };

  const ending = new AbortController();
  const { signal } = ending;
  plot.addEventListener("pointerdown", down, { signal });
  plot.addEventListener("pointermove", move, { signal });
  plot.addEventListener("pointerup", up, { signal });
  plot.addEventListener("pointercancel", cancel, { signal });
  plot.addEventListener("pointerleave", out, { signal });
  plot.addEventListener("wheel", wheel, { signal, passive: false });
  plot.addEventListener("dblclick", twice, { signal });
  plot.addEventListener("keydown", key, { signal });
  return () => ending.abort();
}

/** By key: right, up. */
const ARROWS: Record<string, [number, number] | undefined> = {
  ArrowRight: [1, 0],
  ArrowLeft: [-1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
};
