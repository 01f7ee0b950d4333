import { useState } from "preact/hooks";
import { Trouble } from "../frame/trouble";
import { counted } from "../frame/words";
import { base, token } from "../service/connection";
import { type Problem, problemOf, ServiceError } from "../service/problem";
import { ask, outcomeOf, type Result } from "../trying/bench";
import { save, stemOf } from "./save";
import { snippets } from "./snippets";

/** What can be taken home: the latents, names of the selected cells (null: none are), and the same request by other means. */
export function Downloads({ result, selected }: { result: Result; selected: string[] | null }) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [doing, setDoing] = useState(false);
  const stem = stemOf(result.file.fileName);
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
        <button
          type="button"
          disabled={doing}
          onClick={() => offer(`${stem}.latents.csv`, () => ask((bench) => bench.csv(result.encoded.id)))}
        >
          Latents as CSV
        </button>
        <button
          type="button"
          disabled={doing}
          onClick={() => offer(`${stem}.latents.npz`, () => ask((bench) => bench.npz(result.encoded.id)))}
        >
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
        For each cell its latent representation z, mean and variance of q(z), and its counts of the model's genes
        (library); to the last bit as the service answered.
      </p>
      {problem && <Trouble problem={problem} />}
      <TheSame result={result} stem={stem} offer={offer} />
    </div>
  );
}

function TheSame({
  result,
  stem,
  offer,
}: {
  result: Result;
  stem: string;
  offer: (name: string, make: () => Promise<Blob>) => Promise<void>;
}) {
  const [language, setLanguage] = useState("curl");
  const { encoded, file, choice } = result;
  const requestName = `${stem}.request.json`;
  const made = {
    base,
    model: encoded.model,
    version: encoded.version,
    fileName: file.fileName,
    format: file.format,
    choice,
    withToken: token.value !== null,
    requestName,
  };
  const all = snippets(made);
  const chosen = all.find((snippet) => snippet.language === language) ?? all[0];
  const request = async () => {
    const outcome = await outcomeOf((bench) => bench.requestJson(encoded.id));
    if (!outcome.ok) throw new ServiceError(outcome.problem, false, 0);
    return outcome.value.blob;
  };
  const isWhole = encoded.nInRequest === encoded.nCells;
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
          <code id="same-text">{chosen.text}</code>
        </pre>
        <p class="row">
          <Copy text={chosen.text} />
          {chosen.needsRequest && (
            <button type="button" onClick={() => offer(requestName, request)}>
              Request as JSON
            </button>
          )}
        </p>
        {chosen.needsRequest ? (
          <p class="small soft">
            It reads {requestName}, which the button makes
            {isWhole
              ? "."
              : ` of the first ${counted(encoded.nInRequest, "cell")}, as many as one request may hold; this page and the client send all of them.`}
          </p>
        ) : (
          <p class="small soft">
            With totalvi-client, which comes with the service (client/README.md), in the folder of the file.
          </p>
        )}
      </div>
    </section>
  );
}

function Copy({ text }: { text: string }) {
  const [said, setSaid] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setSaid("Copied.");
    } catch {
      // Not allowed, or not there: on plain HTTP.
      getSelection()?.selectAllChildren(document.getElementById("same-text")!);
      setSaid("Selected: copy it with the keyboard.");
    }
  };
  return (
    <>
      <button type="button" onClick={() => void copy()}>
        Copy
      </button>
      <span role="status" class="small soft">
        {said}
      </span>
    </>
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
