import { useState } from "preact/hooks";
import { Trouble } from "../frame/trouble";
import { counted } from "../frame/words";
import { base, token } from "../service/connection";
import { type Problem, problemOf } from "../service/problem";
import { choice, encoded, opened, worker } from "../trying/bench";
import { save, stemOf } from "./save";
import { snippets } from "./snippets";

/** What can be taken home: the latents, names of the selected cells (null: none are), and the same request by other means. */
export function Downloads({ selected }: { selected: string[] | null }) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [doing, setDoing] = useState(false);
  const stem = stemOf(opened.value?.fileName ?? "cells");
  const offer = async (name: string, make: () => Promise<Blob>) => {
    setDoing(true);
    setProblem(null);
    try {
      save(await make(), name);
    } catch (error) {
      setProblem(problemOf(error));
    }
    setDoing(false);
  };
  return (
    <div class="panel">
      <h3>Take it</h3>
      <p class="row">
        <button type="button" disabled={doing} onClick={() => offer(`${stem}.latents.csv`, () => worker().csv())}>
          Latents as CSV
        </button>
        <button type="button" disabled={doing} onClick={() => offer(`${stem}.latents.npz`, () => worker().npz())}>
          Latents as NPZ
        </button>
        {selected && (
          <button
            type="button"
            disabled={doing}
            onClick={() => offer(`${stem}.selected.txt`, async () => new Blob([`${selected.join("\n")}\n`]))}
          >
            Names of {counted(selected.length, "selected cell")}
          </button>
        )}
      </p>
      <p class="small soft">
        For each cell its latent representation z, mean and variance of q(z), and the library size; to the last bit as
        the service answered.
      </p>
      {problem && <Trouble problem={problem} />}
      <TheSame stem={stem} offer={offer} />
    </div>
  );
}

function TheSame({ stem, offer }: { stem: string; offer: (name: string, make: () => Promise<Blob>) => Promise<void> }) {
  const [language, setLanguage] = useState("curl");
  const [held, setHeld] = useState<number | null>(null);
  const result = encoded.value;
  const file = opened.value;
  if (result === null || file === null) return null;
  const requestName = `${stem}.request.json`;
  const made = {
    base,
    model: result.model,
    version: result.version,
    fileName: file.fileName,
    format: file.format,
    choice: choice.value,
    withToken: token.value !== null,
    requestName,
  };
  const all = snippets(made);
  const chosen = all.find((snippet) => snippet.language === language) ?? all[0];
  const request = async () => {
    const outcome = await worker().requestJson();
    if (!outcome.ok) throw new Error(outcome.problem.detail);
    setHeld(outcome.value.nCells);
    return outcome.value.blob;
  };
  return (
    <section aria-labelledby="same-title">
      <h3 id="same-title">The same in</h3>
      <div class="row" role="tablist" aria-labelledby="same-title" onKeyDown={(event) => turn(event)}>
        {all.map((snippet) => (
          <button
            key={snippet.language}
            type="button"
            role="tab"
            id={`tab-${snippet.language}`}
            aria-selected={snippet === chosen}
            aria-controls="same-panel"
            tabIndex={snippet === chosen ? 0 : -1}
            onClick={() => setLanguage(snippet.language)}
          >
            {snippet.language}
          </button>
        ))}
      </div>
      <div id="same-panel" role="tabpanel" aria-labelledby={`tab-${chosen.language}`}>
        <pre>
          <code>{chosen.text}</code>
        </pre>
        <p class="row">
          <button type="button" onClick={() => void navigator.clipboard?.writeText(chosen.text)}>
            Copy
          </button>
          {chosen.needsRequest && (
            <button type="button" onClick={() => offer(requestName, request)}>
              Request as JSON
            </button>
          )}
        </p>
        {chosen.needsRequest ? (
          <p class="small soft">
            It reads {requestName}, which the button makes
            {held !== null && held < file.nCells && `; it holds the first ${counted(held, "cell")}, as many as fit`}.
          </p>
        ) : (
          <p class="small soft">With totalvi-client (pip install 'totalvi-client[anndata]'), beside the file.</p>
        )}
      </div>
    </section>
  );
}

/** Arrow keys move between tabs. */
function turn(event: KeyboardEvent & { currentTarget: HTMLElement }): void {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const tabs = [...event.currentTarget.querySelectorAll<HTMLButtonElement>('[role="tab"]')];
  const at = tabs.indexOf(document.activeElement as HTMLButtonElement);
  const next = tabs[(at + step + tabs.length) % tabs.length];
  next.focus();
  next.click();
}
