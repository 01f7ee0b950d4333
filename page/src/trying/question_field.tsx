import { useState } from "preact/hooks";
import type { Option, Question } from "../planning/contract";
import { answer, answered } from "./bench";

/** Of the list: a number is typed beside it. */
const TYPED = "typed";

/** One thing to choose, with what is taken by itself and why; `at`: which of the questions it is. */
export function QuestionField({ question, at }: { question: Question; at: number }) {
  const { label, help, options, found, why, typed } = question;
  const given = answered(question);
  const isListed = given === "" || options.some((option) => option.value === given);
  const [isTyping, setIsTyping] = useState(!isListed);
  const taken = options.find((option) => option.value === found);
  const missing = found === null && given === "";
  const [field, told] = [`ask-${at}`, `told-${at}`];
  const choose = (value: string) => {
    setIsTyping(value === TYPED);
    if (value !== TYPED) void answer(question, value);
  };
  return (
    <div class="field">
      <label for={field}>{label}</label>
      <select
        id={field}
        aria-describedby={told}
        aria-invalid={missing}
        value={isTyping ? TYPED : given}
        onChange={(event) => choose(event.currentTarget.value)}
      >
        <option value="">{taken ? `${taken.label} (found)` : "please choose"}</option>
        {options.filter((option) => option !== taken).map(listed)}
        {typed && <option value={TYPED}>one number for all cells</option>}
      </select>
      {isTyping && (
        <input
          type="number"
          step="any"
          aria-label={`${label}: the number`}
          value={given.startsWith("value:") ? given.slice("value:".length) : ""}
          onChange={(event) => {
            const { value } = event.currentTarget;
            void answer(question, value === "" ? "" : `value:${Number(value)}`);
          }}
        />
      )}
      <p id={told} class={missing ? "small warned" : "small soft"}>
        {[why, help].filter(Boolean).map(sentence).join(" ")}
      </p>
    </div>
  );
}

function listed({ value, label, problem }: Option) {
  return (
    <option key={value} value={value}>
      {label}
      {problem && ` – ${problem}`}
    </option>
  );
}

function sentence(text: string): string {
  // `obsm` is a name, and no word.
  const first = text.startsWith("obsm") ? "o" : text.charAt(0).toUpperCase();
  return first + text.slice(1) + (/[.?!:]$/.test(text) ? "" : ".");
}
