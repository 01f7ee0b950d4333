/** Colours for any number of categories, told apart by most eyes and seen on light and on dark paper. */

/**
 * The first ten: found by a search for the largest difference between the two most alike, as seen by usual eyes and by
 * those without red or without green cones, within what is seen on white and on dark paper.
 */
const FIRST = [0x1482ff, 0xe2a409, 0x006d60, 0xd14100, 0x08b8f1, 0xff38ac, 0x7cab4f, 0x841fac, 0x724e2a, 0xff8e98];

/** As many colours as asked for, 0xffBBGGRR; the same position always has the same colour. */
export function categoryColours(n: number): Uint32Array {
  const colours = new Uint32Array(n);
  for (let i = 0; i < n; i++) colours[i] = i < FIRST.length ? packed(FIRST[i]) : generated(i - FIRST.length);
  return colours;
}

/** Hues a golden angle apart, on three levels of lightness in turn. */
function generated(i: number): number {
  const hue = (290 + i * 137.508) % 360;
  const [lightness, chroma] = [
    [0.68, 0.14],
    [0.54, 0.13],
    [0.78, 0.1],
  ][i % 3];
  return fromOklch(lightness, chroma, hue);
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
