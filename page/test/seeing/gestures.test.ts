import { expect, test, vi } from "vitest";
import { listen, type Wishes } from "../../src/seeing/gestures";
import { PlotView } from "../../src/seeing/plot_view";

/** As much of an element as the wheel asks for. */
class Plot extends EventTarget {
  isFocused = false;
  getBoundingClientRect() {
    return { left: 0, top: 0 };
  }
  matches(selector: string): boolean {
    expect(selector).toBe(":focus");
    return this.isFocused;
  }
}

const NOTHING: Wishes = {
  hover: () => {},
  pin: () => {},
  surround: () => {},
  leave: () => {},
  lassoing: () => false,
  current: () => null,
};

function turned(held: { ctrlKey?: boolean; metaKey?: boolean; isFocused?: boolean }) {
  const plot = new Plot();
  plot.isFocused = held.isFocused ?? false;
  const view = new PlotView();
  const zoom = vi.spyOn(view, "zoom");
  const end = listen(plot as unknown as HTMLElement, view, NOTHING);
  const { ctrlKey = false, metaKey = false } = held;
  const wheel = new Event("wheel", { cancelable: true });
  plot.dispatchEvent(Object.assign(wheel, { deltaY: -120, deltaMode: 0, clientX: 10, clientY: 20, ctrlKey, metaKey }));
  end();
  return { zoomedBy: zoom.mock.calls.map(([factor]) => factor), isScrolling: !wheel.defaultPrevented };
}

test("the wheel over the plot scrolls the page", () => {
  expect(turned({})).toEqual({ zoomedBy: [], isScrolling: true });
});

test.each([{ ctrlKey: true }, { metaKey: true }, { isFocused: true }])("the wheel zooms with %o", (held) => {
  const { zoomedBy, isScrolling } = turned(held);
  expect(isScrolling).toBe(false);
  expect(zoomedBy).toHaveLength(1);
  expect(zoomedBy[0]).toBeGreaterThan(1);
});
