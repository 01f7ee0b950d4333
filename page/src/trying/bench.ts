/** The file that a person tries: what was opened, chosen, checked and encoded. Signals; the work is the worker's. */

import { computed, effect, signal, untracked } from "@preact/signals";
import { proxy, type Remote, wrap } from "comlink";
import exampleAddress from "../../../examples/cells.h5ad?url";
import { type Choice, chosenLabel, NO_CHOICE, type Question } from "../planning/contract";
import { base, models, token } from "../service/connection";
import { type Problem, problemOf, ServiceError } from "../service/problem";
import type { Card, LabelValue } from "../service/types";
import type { CellWorker, Encoded, Opened, Outcome, Progress, Report } from "../worker/contract";

const EXAMPLE_NAME = "example-cells.h5ad";
/** The service's own bound of the share of a model's genes. */
const LEAST_SHARE = 0.5;
/** Answers of the service after which the same may succeed. */
const PASSING = new Set(["unreachable", "overloaded", "unavailable", "deadline", "proxy"]);

/** Encoded cells, with all that they were made of: what is chosen afterwards changes nothing of it. */
export interface Result {
  encoded: Encoded;
  file: Opened;
  card: Card;
  choice: Choice;
}

/** Whether another file is being read; what is shown is still of the one before. */
export const isReading = signal(false);
/** What goes on in the worker, for a person; null: nothing. */
export const busy = signal<string | null>(null);
export const opened = signal<Opened | null>(null);
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

/** The model that is tried: the chosen one, or the first that is ready. */
export const model = computed<Card | null>(() => {
  const ready = (models.value ?? []).filter((card) => card.state === "ready");
  return ready.find((card) => card.name === modelName.value) ?? ready[0] ?? null;
});
export const version = computed(() => {
  const { versions = [], version: newest = "" } = model.value ?? {};
  return modelVersion.value !== null && versions.includes(modelVersion.value) ? modelVersion.value : newest;
});
/** Whether the model, its version or what is chosen is not what the result was made with. */
export const isChanged = computed(() => {
  if (result.value === null) return false;
  const { encoded, choice: before } = result.value;
  const isOther = encoded.model !== model.value?.name || encoded.version !== version.value;
  return isOther || JSON.stringify(before) !== JSON.stringify(choice.value);
});

interface Started {
  bench: Remote<CellWorker>;
  /** Rejects where the worker cannot be loaded, or dies. */
  lost: Promise<never>;
  end(): void;
}

let started: Started | null = null;

/** Start the worker when it is first needed, so that the page itself is there at once. */
function start(): Started {
  const thread = new Worker(new URL("../worker/worker.ts", import.meta.url), { type: "module" });
  const lost = new Promise<never>((_, reject) => {
    thread.onerror = thread.onmessageerror = () => {
      thread.terminate();
      started = null;
      const detail = "A part of this page could not be loaded from the service, or failed.";
      reject(new ServiceError({ code: "unreachable", detail }, false, 0));
    };
  });
  // Whoever asks something meanwhile is told; nobody may.
  lost.catch(() => {});
  return { bench: wrap<CellWorker>(thread), lost, end: () => thread.terminate() };
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
  try {
    const answer = await fetch(exampleAddress);
    if (!answer.ok) throw new TypeError(`${answer.status}`);
    const file = new File([await answer.blob()], EXAMPLE_NAME);
    if (task === latest) await open([file]);
  } catch {
    const detail = "The example cells come from the service, and it does not answer.";
    end(task, { code: "unreachable", detail }, () => void openExample());
  }
}

/** Open what was dropped, and check it at once; until it can be read, what was there before stays. */
export async function open(files: File[]): Promise<void> {
  const task = begin("Reading the file …");
  isReading.value = true;
  const outcome = await outcomeOf((bench) => bench.open(files));
  if (task !== latest) return;
  isReading.value = false;
  if (!outcome.ok) return end(task, outcome.problem, () => void open(files));
  report.value = result.value = null;
  questions.value = [];
  choice.value = NO_CHOICE;
  opened.value = outcome.value;
  if (!isModelChosen) await chooseFittingModel(task);
  if (task === latest) await check();
}

/** Where several models are served: the one that has most of the file's genes and asks for least. */
async function chooseFittingModel(task: number): Promise<void> {
  const ready = (models.value ?? []).filter((card) => card.state === "ready");
  if (ready.length < 2) return;
  const fits = await Promise.all(
    ready.map(async (card) => {
      const fit = await outcomeOf((bench) => bench.fit(card.name, card.version));
      const { nOpen, share } = fit.ok ? fit.value : { nOpen: Number.POSITIVE_INFINITY, share: 0 };
      return { name: card.name, nOpen, isCovered: share >= LEAST_SHARE, share };
    }),
  );
  if (task !== latest) return;
  fits.sort((a, b) => Number(b.isCovered) - Number(a.isCovered) || a.nOpen - b.nOpen || b.share - a.share);
  modelName.value = fits[0].name;
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
  const card = model.value;
  if (opened.value === null) return;
  const task = begin("Comparing the file with the model …");
  report.value = null;
  // Asked again when there is a model.
  if (card === null) return end(task, null);
  const [name, number, chosen] = [card.name, version.value, choice.value];
  const asked = await outcomeOf((bench) => bench.questions(name, number, chosen));
  if (task !== latest) return;
  if (!asked.ok) return end(task, asked.problem, () => void check());
  questions.value = asked.value;
  if (asked.value.some((question) => question.found === null && answered(question) === "")) return end(task, null);
  const checked = await outcomeOf((bench) => bench.check(name, number, chosen));
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
  const [name, number, chosen] = [card.name, version.value, choice.value];
  const outcome = await outcomeOf((bench) => bench.encode(name, number, chosen, tell));
  if (task !== latest) return;
  if (outcome.ok) result.value = { encoded: outcome.value, file, card: { ...card, version: number }, choice: chosen };
  end(task, outcome.ok ? null : outcome.problem, () => void encode());
}

export function stop(): void {
  void ask((bench) => bench.stop());
}

/** Give up the file and all that was made of it. */
export function forget(): void {
  latest++;
  started?.end();
  started = null;
  isReading.value = false;
  opened.value = report.value = result.value = progress.value = busy.value = problem.value = again.value = null;
  questions.value = [];
  choice.value = NO_CHOICE;
}

function begin(doing: string): number {
  isReading.value = false;
  busy.value = doing;
  problem.value = again.value = progress.value = null;
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

// A file may be there before a model is: while the service loads, or asks for a token.
effect(() => {
  const isThere = model.value !== null;
  untracked(() => {
    const isWaiting = opened.value !== null && questions.value.length === 0 && busy.value === null;
    if (isThere && isWaiting && problem.value === null) void check();
  });
});
