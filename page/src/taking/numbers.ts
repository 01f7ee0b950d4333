/** A float32 as the shortest text of nine digits or fewer that reads back as the same float32. */
export function floatText(value: number): string {
  // Nine significant digits always tell a float32 from its neighbours; the second conversion drops zeros at the end.
  return String(Number(value.toPrecision(9)));
}
