/** A cell by its name: the way to every cell without a mouse. */

import { useMemo, useState } from "preact/hooks";

/** Suggestions at a time. */
const MOST = 20;

export interface FindCellProps {
  cellIds: readonly string[];
  onFind(cell: number): void;
}

export function FindCell({ cellIds, onFind }: FindCellProps) {
  const [text, setText] = useState("");
  const [shown, setShown] = useState<number | null>(null);
  const [told, setTold] = useState("");
  const suggested = useMemo(() => suggestions(cellIds, text.trim()), [cellIds, text]);
  const find = (event: Event): void => {
    event.preventDefault();
    const wanted = text.trim();
    const name = suggested.length === 1 ? cellIds[suggested[0]] : wanted;
    const found = nextOf(cellIds, name, shown);
    setShown(found?.cell ?? null);
    if (found !== null) onFind(found.cell);
    if (wanted === "") setTold("");
    else if (found !== null) setTold(found.n > 1 ? severalText(name, found) : "");
    else if (suggested.length === 0) setTold(`No cell has “${wanted}” in its name.`);
    else setTold(`Several cells have “${wanted}” in their names, such as ${cellIds[suggested[0]]}.`);
  };
  return (
    <form class="find" onSubmit={find}>
      <label for="find-cell">Find a cell</label>
      <input
        id="find-cell"
        list="found-cells"
        autocomplete="off"
        spellcheck={false}
        value={text}
        placeholder={cellIds[0]}
        aria-describedby="find-told"
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <datalist id="found-cells">
        {suggested.map((cell) => (
          <option key={cell} value={cellIds[cell]} />
        ))}
      </datalist>
      <button type="submit">Show</button>
      <p id="find-told" class="soft" role="status">
        {told}
      </p>
    </form>
  );
}

/** The first cells whose names hold the text; of those with the same name one. */
export function suggestions(cellIds: readonly string[], text: string): number[] {
  const found = new Map<string, number>();
  if (text === "") return [];
  for (let cell = 0; cell < cellIds.length && found.size < MOST; cell++) {
    const name = cellIds[cell];
    if (name.includes(text) && !found.has(name)) found.set(name, cell);
  }
  return [...found.values()];
}

export interface OneOf {
  cell: number;
  /** Which one it is of the `n` cells with this name, from 1. */
  at: number;
  n: number;
}

/** The cell with this name that comes after the one shown, and after the last the first; null: there is none. */
export function nextOf(cellIds: readonly string[], name: string, shown: number | null): OneOf | null {
  const same: number[] = [];
  for (let cell = 0; cell < cellIds.length; cell++) if (cellIds[cell] === name) same.push(cell);
  if (same.length === 0) return null;
  const at = shown === null ? 0 : (same.indexOf(shown) + 1) % same.length;
  return { cell: same[at], at: at + 1, n: same.length };
}

/** That it is not the only one, and how to get to the others. */
function severalText(name: string, { at, n }: OneOf): string {
  return `${n.toLocaleString("en")} cells are called “${name}”; this is number ${at}. Show again goes to the next.`;
}
