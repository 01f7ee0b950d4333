/** The colours of the page as it is now, for what is drawn rather than styled. */

import { rgb } from "./palette";

export interface Theme {
  dark: boolean;
  paper: string;
  ink: string;
  inkSoft: string;
  line: string;
  accent: string;
  /** `paper` as pixels are stored. */
  paperPixel: number;
}

/** Reads the variables that the page's style sheet gives for light and for dark. */
export function themeOf(element: Element): Theme {
  const night = matchMedia("(prefers-color-scheme: dark)").matches;
  // As a colour, not as a variable: a variable is given back as it is written, which may be a function of the theme.
  const probe = document.createElement("i");
  probe.hidden = true;
  (element.parentElement ?? element).append(probe);
  const style = getComputedStyle(probe);
  const read = (name: string, light: string, dark: string): string => {
    probe.style.color = `var(${name}, ${night ? dark : light})`;
    return style.color;
  };
  const paper = read("--paper", "#ffffff", "#14181d");
  const [red, green, blue] = parsed(paper);
  const theme: Theme = {
    dark: 0.299 * red + 0.587 * green + 0.114 * blue < 128,
    paper,
    ink: read("--ink", "#1c2127", "#e8ecf0"),
    inkSoft: read("--ink-soft", "#56606b", "#a5b0bb"),
    line: read("--line", "#d5dae0", "#343c45"),
    accent: read("--accent", "#0b62b8", "#6db3f2"),
    paperPixel: rgb(red, green, blue),
  };
  probe.remove();
  return theme;
}

/** Red, green and blue of any colour that CSS can write. */
function parsed(colour: string): [number, number, number] {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return [red, green, blue];
}

/** Calls `changed` whenever the theme may be another; returns what ends that. */
export function watchTheme(changed: () => void): () => void {
  const preference = matchMedia("(prefers-color-scheme: dark)");
  const chosen = new MutationObserver(changed);
  preference.addEventListener("change", changed);
  chosen.observe(document.documentElement, { attributes: true, attributeFilter: ["class", "data-theme"] });
  return () => {
    preference.removeEventListener("change", changed);
    chosen.disconnect();
  };
}
