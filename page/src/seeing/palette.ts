/** Colours for any number of categories, told apart by most eyes; others on light paper than on dark. */

/**
 * The first ten: found by a search for the largest difference between the two most alike (and to the grey of missing
 * values), as seen by usual eyes and by those without red or without green cones, among the colours that are not dull,
 * not glaring, not almost black, and have a contrast of 3 to the page's paper. Those at the same place are of a like
 * hue where possible.
 */
const FIRST = {
  light: [0x008cff, 0xdc6400, 0x3ca064, 0xa000b4, 0x505000, 0xff2850, 0x145078, 0xb478b4, 0x8c143c, 0x2850f0],
  dark: [0x5078f0, 0xdca028, 0x3c7800, 0xb43ca0, 0xc8f078, 0xc81450, 0x00a0dc, 0xffc8ff, 0xffa08c, 0x14ffc8],
};

/** Lightness and chroma, in turn, of the others. */
const LEVELS = {
  light: [
    [0.6, 0.14],
    [0.46, 0.13],
    [0.35, 0.1],
  ],
  dark: [
    [0.7, 0.14],
    [0.58, 0.13],
    [0.84, 0.1],
  ],
};

/** As many colours as asked for, 0xffBBGGRR; the same position always has the same colour on the same paper. */
export function categoryColours(n: number, dark: boolean): Uint32Array {
  const paper = dark ? "dark" : "light";
  const first = FIRST[paper];
  return Uint32Array.from({ length: n }, (_, i) =>
    i < first.length ? packed(first[i]) : generated(i - first.length, LEVELS[paper]),
  );
}

/** Hues a golden angle apart, on three levels of lightness in turn. */
function generated(i: number, levels: number[][]): number {
  const [lightness, chroma] = levels[i % levels.length];
  return fromOklch(lightness, chroma, (290 + i * 137.508) % 360);
}

/** From OKLCH (Ottosson 2020) to sRGB, what is outside cut off; 0xffBBGGRR. */
function fromOklch(lightness: number, chroma: number, hue: number): number {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return rgb(
    encoded(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
    encoded(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
    encoded(-0.0041960863 * long - 0.7034186147 * medium + 1.707614701 * short),
  );
}

/** From linear light to sRGB, 0 to 255. */
function encoded(linear: number): number {
  const light = Math.min(1, Math.max(0, linear));
  return Math.round(255 * (light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055));
}

/** 0xffBBGGRR, as pixels are stored. */
export function rgb(red: number, green: number, blue: number): number {
  return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
}

/** From 0xRRGGBB. */
export function packed(hex: number): number {
  return rgb((hex >> 16) & 0xff, (hex >> 8) & 0xff, hex & 0xff);
}

/** As CSS and canvas write it. */
export function css(colour: number): string {
  return `rgb(${colour & 0xff} ${(colour >>> 8) & 0xff} ${(colour >>> 16) & 0xff})`;
}
