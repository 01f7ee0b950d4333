import { useEffect, useRef, useState } from "preact/hooks";
import { Trouble } from "../frame/trouble";
import { counted, duration, short, whole } from "../frame/words";
import { models } from "../service/connection";
import type { Opened } from "../worker/contract";
import * as bench from "./bench";
import { QuestionField } from "./question_field";
import { ReportPanel } from "./report_panel";

const ACCEPTED = ".h5ad,.h5,.h5mu,.zip,.gz,.tgz,.tar,.mtx,.tsv,.csv,.txt";

/** A file, what the model needs to know of it, and what it would make of it. */
export function TryIt() {
  const { value: opened } = bench.opened;
  const isEncoding = bench.progress.value !== null;
  return (
    <section aria-labelledby="try-title" id="try">
      <h2 id="try-title">Try it</h2>
      <FileChoice />
      <Telling />
      {bench.fileProblem.value && <Trouble problem={bench.fileProblem.value} />}
      {opened && (
        <div class="panel">
          <p>
            <b>{opened.fileName}</b> ({opened.isSheet ? "table" : opened.format}): {sizeOf(opened)}.
          </p>
          <fieldset class="questions" disabled={isEncoding || bench.isReading.value}>
            <legend class="hidden">What the model needs to know</legend>
            <ModelChoice />
            {bench.questions.value.map((question, at) => (
              <QuestionField key={question.id} question={question} at={at} />
            ))}
            <label class="check">
              <input
                type="checkbox"
                checked={bench.choice.value.allowNonInteger}
                onChange={(event) => void bench.choose({ allowNonInteger: event.currentTarget.checked })}
              />
              Take counts with fractions (as after removing ambient counts)
            </label>
          </fieldset>
        </div>
      )}
      {bench.problem.value && <Trouble problem={bench.problem.value} again={bench.again.value ?? undefined} />}
      {bench.report.value && <ReportPanel report={bench.report.value} />}
      {isEncoding && <EncodingBar />}
      {bench.result.value && <Done result={bench.result.value} />}
    </section>
  );
}

/** What goes on, in a place that is always there: screen readers hear what changes in it. */
function Telling() {
  const { busy, progress, report, questions, result } = bench;
  const missing = questions.value.filter((question) => question.found === null && bench.answered(question) === "");
  let told = "";
  if (busy.value !== null) told = progress.value === null ? busy.value : "Encoding.";
  else if (missing.length > 0) told = `Please choose: ${missing.map(({ label }) => label).join(", ")}.`;
  else if (result.value !== null && !bench.isChanged.value) told = "The cells are encoded; the picture is below.";
  else if (report.value !== null) told = "The report is there: what the model knows of this file.";
  return (
    <p class={busy.value !== null && progress.value === null ? "soft" : "hidden"} role="status">
      {told}
    </p>
  );
}

function sizeOf(opened: Opened): string {
  if (opened.isSheet) return "a table; whether its rows are cells or genes is told by the model's names";
  return `${counted(opened.nCells, "cell")}, ${counted(opened.nColumns, "column")}`;
}

function FileChoice() {
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  useDropAnywhere(setOver);
  const take = (files: FileList | null) => {
    if (files && files.length > 0) void bench.open([...files]);
    // So that the same file can be chosen again.
    if (input.current) input.current.value = "";
  };
  return (
    <div class={over ? "drop over" : "drop"}>
      <p>
        Drop a file anywhere on this page: <b>.h5ad</b>, <b>10x .h5</b>, <b>.h5mu</b>, a matrix-market trio (<b>.zip</b>
        , <b>.tar.gz</b>, or its three files together) or a <b>.csv</b> or <b>.tsv</b> of counts.
      </p>
      <p class="row">
        <label class="button">
          Choose files
          <input
            ref={input}
            class="hidden"
            type="file"
            multiple
            accept={ACCEPTED}
            onChange={(event) => take(event.currentTarget.files)}
          />
        </label>
        <button type="button" onClick={() => void bench.openExample()}>
          Use the example cells
        </button>
      </p>
      <p class="small soft">
        The file stays on this computer: it is read here, in the browser. To this service go the counts of the genes and
        proteins that the model has, the labels that it asks for, and the names of other genes and proteins, so that it
        can say which it does not know; names of cells and everything else do not.
      </p>
    </div>
  );
}

/** Files may be dropped on the whole page, which else would show them instead. */
function useDropAnywhere(setOver: (over: boolean) => void): void {
  useEffect(() => {
    const holdsFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files");
    const over = (event: DragEvent) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      setOver(true);
    };
    const leave = (event: DragEvent) => {
      if (event.relatedTarget === null) setOver(false);
    };
    const drop = (event: DragEvent) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      setOver(false);
      const files = [...(event.dataTransfer?.files ?? [])];
      if (files.length > 0) void bench.open(files);
    };
    addEventListener("dragover", over);
    addEventListener("dragleave", leave);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", drop);
    };
  }, [setOver]);
}

function ModelChoice() {
  const ready = (models.value ?? []).filter((card) => card.state === "ready");
  const card = bench.model.value;
  if (card === null) return <p class="note bad">No model is ready.</p>;
  return (
    <>
      <label class="field">
        <span>Model</span>
        <select value={card.name} onChange={(event) => void bench.chooseModel(event.currentTarget.value)}>
          {ready.map(({ name }) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </label>
      {card.versions.length > 1 && (
        <label class="field">
          <span>Version</span>
          <select
            value={bench.version.value}
            onChange={(event) => void bench.chooseModel(card.name, event.currentTarget.value)}
          >
            {card.versions.map((version) => (
              <option key={version} value={version}>
                {version}
              </option>
            ))}
          </select>
        </label>
      )}
    </>
  );
}

function EncodingBar() {
  const now = bench.progress.value!;
  const perSecond = now.seconds > 0 ? now.nDone / now.seconds : 0;
  const left = perSecond > 0 ? (now.nCells - now.nDone) / perSecond : null;
  return (
    <div class="panel">
      <label class="hidden" for="encoding-bar">
        Encoding
      </label>
      <progress id="encoding-bar" max={now.nCells} value={now.nDone} />
      <p class="row spread">
        <span>
          {whole(now.nDone)} of {counted(now.nCells, "cell")}
          {perSecond > 0 && `, ${short(perSecond)} cells/s`}
          {left !== null && left > 1 && `, ${duration(left)} left`}
        </span>
        <button type="button" onClick={bench.stop}>
          Stop
        </button>
      </p>
    </div>
  );
}

function Done({ result }: { result: bench.Result }) {
  const { encoded } = result;
  const known = new Set(bench.report.value?.warnings.map(({ code, detail }) => `${code} ${detail}`));
  const news = encoded.warnings.filter(({ code, detail }) => !known.has(`${code} ${detail}`));
  return (
    <div class="note good">
      <p>
        {counted(encoded.nCells, "cell")} encoded in {duration(encoded.seconds)} (
        {short(encoded.nCells / encoded.seconds)} cells/s) by {encoded.model}, version {encoded.version}:{" "}
        {counted(encoded.nLatent, "latent dimension")}.
      </p>
      {news.length > 0 && !bench.isChanged.value && (
        <ul class="report">
          {news.map(({ detail }) => (
            <li key={detail} class="warned">
              {detail}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
