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
  const [problem, setProblem] = useState("");
  const suggested = useMemo(() => suggestions(cellIds, text.trim()), [cellIds, text]);
  const find = (event: Event): void => {
    event.preventDefault();
    const wanted = text.trim();
    const exact = cellIds.indexOf(wanted);
    const cell = exact >= 0 ? exact : suggested.length === 1 ? suggested[0] : null;
    if (cell !== null) onFind(cell);
    if (cell !== null || wanted === "") setProblem("");
    else if (suggested.length === 0) setProblem(`No cell has “${wanted}” in its name.`);
    else setProblem(`Several cells have “${wanted}” in their names, such as ${cellIds[suggested[0]]}.`);
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
        aria-describedby="find-problem"
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <datalist id="found-cells">
        {suggested.map((cell) => (
          <option key={cell} value={cellIds[cell]} />
        ))}
      </datalist>
      <button type="submit">Show</button>
      <p id="find-problem" class="soft" role="status">
        {problem}
      </p>
    </form>
  );
}

/** The first cells whose names hold the text. */
export function suggestions(cellIds: readonly string[], text: string): number[] {
  const found: number[] = [];
  if (text === "") return found;
  for (let cell = 0; cell < cellIds.length && found.length < MOST; cell++) {
    if (cellIds[cell].includes(text)) found.push(cell);
  }
  return found;
}
