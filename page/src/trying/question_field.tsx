import type { Question } from "../planning/contract";
import { answer, answered } from "./bench";

/** One thing to choose, with what is taken by itself and why. */
export function QuestionField({ question }: { question: Question }) {
  const { id, label, help, options, found, why } = question;
  const taken = options.find((option) => option.value === found);
  const missing = found === null && answered(question) === "";
  const told = `told-${id}`;
  return (
    <div class="field">
      <label for={`ask-${id}`}>{label}</label>
      <select
        id={`ask-${id}`}
        aria-describedby={told}
        aria-invalid={missing}
        value={answered(question)}
        onChange={(event) => void answer(question, event.currentTarget.value)}
      >
        <option value="">{taken ? `${taken.label} (found)` : "please choose"}</option>
        {options
          .filter((option) => option !== taken)
          .map((option) => (
            <option key={option.value} value={option.value}>
              {option.label}
              {option.problem && ` – ${option.problem}`}
            </option>
          ))}
      </select>
      <p id={told} class={missing ? "small warned" : "small soft"}>
        {[why, help].filter(Boolean).map(sentence).join(" ")}
      </p>
    </div>
  );
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.?!:]$/.test(text) ? "" : ".");
}
