/** The file that a person tries: what was opened, chosen, checked and encoded. Signals; the work is the worker's. */

import { computed, effect, signal, untracked } from "@preact/signals";
import { proxy, type Remote, wrap } from "comlink";
import exampleAddress from "../../../examples/cells.h5ad?url";
import { type Choice, chosenLabel, NO_CHOICE, type Question } from "../planning/contract";
import { bestOf } from "../planning/fit";
import { access, base, models, token } from "../service/connection";
import { type Problem, problemOf, ServiceError } from "../service/problem";
import type { Card, LabelValue } from "../service/types";
import type { CellWorker, Encoded, Opened, Outcome, Progress, Report } from "../worker/contract";

const EXAMPLE_NAME = "example-cells.h5ad";
/** Answers of the service after which the same may succeed. */
const PASSING = new Set(["unreachable", "overloaded", "unavailable", "deadline", "proxy"]);

/** Encoded cells, with all that they were made of: what is chosen afterwards changes nothing of it. */
export interface Result {
  encoded: Encoded;
  file: Opened;
  choice: Choice;
}

/** Whether another file is being read; what is shown is still of the one before. */
export const isReading = signal(false);
/** What goes on in the worker, for a person; null: nothing. */
export const busy = signal<string | null>(null);
export const opened = signal<Opened | null>(null);
/** Of a file that could not be opened; the one before it stays. */
export const fileProblem = signal<Problem | null>(null);
export const problem = signal<Problem | null>(null);
/** What to do again where that may succeed; null: it would not. */
export const again = signal<(() => void) | null>(null);
export const choice = signal<Choice>(NO_CHOICE);
export const questions = signal<Question[]>([]);
export const report = signal<Report | null>(null);
export const progress = signal<Progress | null>(null);
export const result = signal<Result | null>(null);

const modelName = signal<string | null>(null);
const modelVersion = signal<string | null>(null);
/** Whether a person has chosen the model: then no file changes it. */
let isModelChosen = false;
/** The file for which the model was chosen by itself. */
let fitted: Opened | null = null;

/** The model that is tried: the chosen one, or the first that is ready. */
export const model = computed<Card | null>(() => {
  const ready = (models.value ?? []).filter((card) => card.state === "ready");
  return ready.find((card) => card.name === modelName.value) ?? ready[0] ?? null;
});
export const version = computed(() => {
  const { versions = [], version: newest = "" } = model.value ?? {};
  return modelVersion.value !== null && versions.includes(modelVersion.value) ? modelVersion.value : newest;
});
/** Whether the model, its version, its artifact or what is chosen is not what the result was made with. */
export const isChanged = computed(() => {
  if (result.value === null) return false;
  const { encoded, choice: before } = result.value;
  return isOther(encoded) || JSON.stringify(before) !== JSON.stringify(choice.value);
});

/** Whether something was made with another model than the present one. */
function isOther(made: { model: string; version: string; sha256: string }): boolean {
  const card = model.value;
  if (made.model !== card?.name || made.version !== version.value) return true;
  // The list tells the digest of each model's newest version.
  return made.version === card.version && made.sha256 !== card.sha256;
}

interface Started {
  bench: Remote<CellWorker>;
  /** Rejects where the worker cannot be loaded, or dies. */
  lost: Promise<never>;
  end(): void;
}

let started: Started | null = null;
/** What was dropped last, in case that the worker which holds it fails. */
let files: File[] = [];

/** Start the worker when it is first needed, so that the page itself is there at once. */
function start(): Started {
  const thread = new Worker(new URL("../worker/worker.ts", import.meta.url), { type: "module" });
  const lost = new Promise<never>((_, reject) => {
    thread.onerror = thread.onmessageerror = () => {
      thread.terminate();
      started = null;
      const detail = "A part of this page could not be loaded from the service, or failed.";
      const failure: Problem = { code: "unreachable", detail };
      if (opened.value !== null) lose(failure);
      reject(new ServiceError(failure, false, 0));
    };
  });
  // Whoever asks something meanwhile is told; nobody may.
  lost.catch(() => {});
  return { bench: wrap<CellWorker>(thread), lost, end: () => thread.terminate() };
}

/** The worker is gone, and with it the file and what was made of it. */
function lose(failure: Problem): void {
  const again = files;
  clear();
  end(latest, failure, () => void open(again));
}

/** Ask the worker, with the caller's present token. */
export async function ask<T>(work: (bench: Remote<CellWorker>) => Promise<T>): Promise<T> {
  started ??= start();
  const { bench, lost } = started;
  const asked = async () => {
    await bench.connect(base, token.value);
    return work(bench);
  };
  return Promise.race([asked(), lost]);
}

/** The same for what tells a problem instead of throwing it. */
export async function outcomeOf<T>(work: (bench: Remote<CellWorker>) => Promise<Outcome<T>>): Promise<Outcome<T>> {
  try {
    return await ask(work);
  } catch (error) {
    return { ok: false, problem: problemOf(error) };
  }
}

/** Which of several overlapping tasks is the last one asked for: what the others find is no longer wanted. */
let latest = 0;

/** Open the example cells. */
export async function openExample(): Promise<void> {
  const task = begin("Fetching the example cells …");
  isReading.value = true;
  try {
    const answer = await fetch(exampleAddress);
    if (!answer.ok) throw new TypeError(`${answer.status}`);
    const file = new File([await answer.blob()], EXAMPLE_NAME);
    if (task === latest) await open([file]);
  } catch {
    const detail = "The example cells come from the service, and it does not answer.";
    await failToOpen(task, { code: "unreachable", detail }, () => void openExample());
  }
}

/** Open what was dropped, and check it at once; until it can be read, what was there before stays. */
export async function open(given: File[]): Promise<void> {
  const task = begin("Reading the file …");
  isReading.value = true;
  const outcome = await outcomeOf((bench) => bench.open(given));
  if (task !== latest) return drop(outcome.ok ? outcome.value : null);
  if (!outcome.ok) return failToOpen(task, outcome.problem, () => void open(given));
  isReading.value = false;
  files = given;
  clear();
  opened.value = outcome.value;
  await check();
}

/** The file before is still there, and may have been left in the middle of its check. */
async function failToOpen(task: number, met: Problem, retry: () => void): Promise<void> {
  if (task !== latest) return;
  isReading.value = false;
  if (opened.value === null || PASSING.has(met.code)) return end(task, met, retry);
  // What begins clears what was told before.
  const checked = report.value === null ? check() : end(task, null);
  fileProblem.value = met;
  await checked;
}

/** Give up what the worker holds. */
function drop(held: { id: number } | null): void {
  if (held !== null && started !== null) void ask((bench) => bench.drop(held.id)).catch(() => {});
}

/** Where several models are served: the one that suits the file. */
async function chooseFittingModel(task: number, file: Opened): Promise<void> {
  const ready = (models.value ?? []).filter((card) => card.state === "ready");
  const fits = await Promise.all(
    ready.map(async ({ name, version }) => {
      const fit = await outcomeOf((bench) => bench.fit(file.id, name, version));
      return { name, ...(fit.ok ? fit.value : { share: 0, nOpen: Number.MAX_SAFE_INTEGER }) };
    }),
  );
  if (task === latest) modelName.value = bestOf(fits)?.name ?? null;
}

/** Choose something, and look again at what it makes of the file. */
export async function choose(changed: Partial<Choice>): Promise<void> {
  choice.value = { ...choice.value, ...changed };
  await check();
}

/** Answer one question of the form; "": what is found by itself. */
export function answer(question: Question, value: string): Promise<void> {
  const given = value === "" ? null : value;
  const { id } = question;
  if (id === "layer" || id === "proteins" || id === "geneColumn") return choose({ [id]: given });
  return choose({ labels: { ...choice.value.labels, [id]: given === null ? null : labelsAs(given) } });
}

/** What is chosen for a question now, as its option's value; "": nothing. */
export function answered({ id }: Question): string {
  if (id === "layer" || id === "proteins" || id === "geneColumn") return choice.value[id] ?? "";
  const label = chosenLabel(choice.value, id);
  if (label === null) return "";
  return "column" in label ? `column:${label.column}` : `value:${JSON.stringify(label.value)}`;
}

export async function chooseModel(name: string, newVersion: string | null = null): Promise<void> {
  if (name !== model.value?.name) choice.value = { ...choice.value, labels: {}, geneColumn: null, proteins: null };
  isModelChosen = true;
  modelName.value = name;
  modelVersion.value = newVersion;
  await check();
}

/** Ask the service what it makes of the file, as soon as nothing is left to choose. */
export async function check(): Promise<void> {
  const file = opened.value;
  if (file === null) return;
  const task = begin("Comparing the file with the model …");
  report.value = null;
  // Asked again when there is a model.
  if (model.value === null) return end(task, null);
  if (!isModelChosen && fitted !== file && (models.value?.length ?? 0) > 1) {
    await chooseFittingModel(task, file);
    if (task !== latest) return;
    fitted = file;
  }
  const [name, number, chosen] = [model.value.name, version.value, choice.value];
  const asked = await outcomeOf((bench) => bench.questions(file.id, name, number, chosen));
  if (task !== latest) return;
  if (!asked.ok) return end(task, asked.problem, () => void check());
  questions.value = asked.value;
  if (asked.value.some((question) => question.found === null && answered(question) === "")) return end(task, null);
  const checked = await outcomeOf((bench) => bench.check(file.id, name, number, chosen));
  if (task !== latest) return;
  if (checked.ok) report.value = checked.value;
  end(task, checked.ok ? null : checked.problem, () => void check());
}

export async function encode(): Promise<void> {
  const card = model.value;
  const file = opened.value;
  if (file === null || card === null) return;
  const task = begin("Encoding …");
  progress.value = { nDone: 0, nCells: report.value?.nCells ?? file.nCells, seconds: 0 };
  const tell = proxy((now: Progress) => {
    if (task === latest) progress.value = now;
  });
  const [number, chosen] = [version.value, choice.value];
  const outcome = await outcomeOf((bench) => bench.encode(file.id, card.name, number, chosen, tell));
  if (task !== latest) return drop(outcome.ok ? outcome.value : null);
  if (outcome.ok) {
    drop(result.value?.encoded ?? null);
    result.value = { encoded: outcome.value, file, choice: chosen };
  }
  end(task, outcome.ok ? null : outcome.problem, () => void encode());
}

export function stop(): void {
  void ask((bench) => bench.stop());
}

/** Give up the file and all that was made of it. */
export function forget(): void {
  latest++;
  clear();
  started?.end();
  started = null;
  isReading.value = false;
  busy.value = progress.value = problem.value = again.value = null;
}

/** Show nothing of the file before. */
function clear(): void {
  drop(result.value?.encoded ?? null);
  drop(opened.value);
  opened.value = report.value = result.value = fileProblem.value = null;
  questions.value = [];
  choice.value = NO_CHOICE;
}

function begin(doing: string): number {
  if (progress.value !== null) stop();
  isReading.value = false;
  busy.value = doing;
  problem.value = fileProblem.value = again.value = progress.value = null;
  return ++latest;
}

function end(task: number, met: Problem | null, retry: (() => void) | null = null): void {
  if (task !== latest) return;
  busy.value = progress.value = null;
  problem.value = met;
  again.value = met !== null && PASSING.has(met.code) ? retry : null;
}

function labelsAs(value: string): { column: string } | { value: LabelValue } {
  if (value.startsWith("column:")) return { column: value.slice("column:".length) };
  return { value: JSON.parse(value.slice("value:".length)) as LabelValue };
}

const REFUSED = new Set(["unauthenticated", "forbidden"]);

/** Whether the file has to be looked at by itself: nobody asked for it. */
function isToBeChecked(): boolean {
  if (opened.value === null || busy.value !== null) return false;
  // A file may be there before a model is: while the service loads, or asks for a token; which may have run out, too.
  if (problem.value !== null) return REFUSED.has(problem.value.code);
  if (report.value === null) return questions.value.length === 0;
  return isOther(report.value);
}

effect(() => {
  const isThere = access.value === "open" && model.value !== null;
  untracked(() => {
    if (isThere && isToBeChecked()) void check();
  });
});
