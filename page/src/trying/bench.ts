/** The file that a person tries: what was opened, chosen, checked and encoded. Signals; the work is the worker's. */

import { computed, signal } from "@preact/signals";
import { proxy, wrap } from "comlink";
import exampleAddress from "../../../examples/cells.h5ad?url";
import type { Choice, Question } from "../planning/contract";
import { base, models, token } from "../service/connection";
import type { Problem } from "../service/problem";
import { problemOf } from "../service/problem";
import type { Card, LabelValue } from "../service/types";
import type { CellWorker, Encoded, Opened, Outcome, Progress, Report } from "../worker/contract";

export const EXAMPLE_NAME = "example-cells.h5ad";

const NOTHING_CHOSEN: Choice = { layer: null, geneColumn: null, proteins: null, labels: {}, allowNonInteger: false };

/** What goes on in the worker, for a person; null: nothing. */
export const busy = signal<string | null>(null);
export const opened = signal<Opened | null>(null);
export const problem = signal<Problem | null>(null);
export const modelName = signal<string | null>(null);
export const modelVersion = signal<string | null>(null);
export const choice = signal<Choice>(NOTHING_CHOSEN);
export const questions = signal<Question[]>([]);
export const report = signal<Report | null>(null);
export const progress = signal<Progress | null>(null);
export const encoded = signal<Encoded | null>(null);

/** The model that is tried: the chosen one, or the first that is ready. */
export const model = computed<Card | null>(() => {
  const ready = (models.value ?? []).filter((card) => card.state === "ready");
  return ready.find((card) => card.name === modelName.value) ?? ready[0] ?? null;
});
export const version = computed(() => {
  const { versions = [], version: newest = "" } = model.value ?? {};
  return modelVersion.value !== null && versions.includes(modelVersion.value) ? modelVersion.value : newest;
});

let started: ReturnType<typeof wrap<CellWorker>> | null = null;

/** The worker; started when it is first needed, so that the page itself is there at once. */
export function worker() {
  if (started === null) {
    started = wrap<CellWorker>(new Worker(new URL("../worker/worker.ts", import.meta.url), { type: "module" }));
  }
  return started;
}

/** Which of several overlapping tasks is the last one asked for: what the others find is no longer wanted. */
let latest = 0;

export async function openExample(): Promise<void> {
  const task = begin("Fetching the example cells …");
  try {
    const answer = await fetch(exampleAddress);
    if (!answer.ok) throw new Error(`the example cells answered ${answer.status}`);
    const file = new File([await answer.blob()], EXAMPLE_NAME);
    if (task === latest) await open([file]);
  } catch (error) {
    end(task, error instanceof TypeError ? unreachable() : problemOf(error));
  }
}

/** Open what was dropped, and check it at once. */
export async function open(files: File[]): Promise<void> {
  const task = begin("Reading the file …");
  opened.value = report.value = encoded.value = null;
  questions.value = [];
  choice.value = NOTHING_CHOSEN;
  const outcome = await call((bench) => bench.open(files));
  if (task !== latest) return;
  if (!outcome.ok) return end(task, outcome.problem);
  opened.value = outcome.value;
  await check();
}

/** Choose something, and look again at what it makes of the file. */
export async function choose(changed: Partial<Choice>): Promise<void> {
  choice.value = { ...choice.value, ...changed };
  await check();
}

/** Answer one question of the form; "": what is found by itself. */
export function answer(question: Question, value: string): Promise<void> {
  const given = value === "" ? null : value;
  if (question.id === "layer" || question.id === "proteins") return choose({ [question.id]: given });
  if (question.id === "geneColumn") return choose({ geneColumn: given });
  const key = question.id;
  return choose({ labels: { ...choice.value.labels, [key]: given === null ? null : labelsAs(given) } });
}

/** What is chosen for a question now, as its option's value; "": nothing. */
export function answered(question: Question): string {
  if (question.id === "layer" || question.id === "proteins" || question.id === "geneColumn") {
    return choice.value[question.id] ?? "";
  }
  const label = choice.value.labels[question.id];
  if (!label) return "";
  return "column" in label ? `column:${label.column}` : `value:${JSON.stringify(label.value)}`;
}

export async function chooseModel(name: string, newVersion: string | null = null): Promise<void> {
  if (name !== model.value?.name) choice.value = { ...choice.value, labels: {}, geneColumn: null };
  modelName.value = name;
  modelVersion.value = newVersion;
  await check();
}

/** Ask the service what it makes of the file, as soon as nothing is left to choose. */
export async function check(): Promise<void> {
  const card = model.value;
  if (opened.value === null || card === null) return;
  const task = begin("Comparing the file with the model …");
  report.value = null;
  const chosen = choice.value;
  const asked = await call((bench) => bench.questions(card.name, version.value, chosen));
  if (task !== latest) return;
  if (!asked.ok) return end(task, asked.problem);
  questions.value = asked.value;
  if (asked.value.some((question) => question.found === null && answered(question) === "")) return end(task, null);
  const checked = await call((bench) => bench.check(card.name, version.value, chosen));
  if (task !== latest) return;
  if (checked.ok) report.value = checked.value;
  end(task, checked.ok ? null : checked.problem);
}

export async function encode(): Promise<void> {
  const card = model.value;
  if (opened.value === null || card === null) return;
  const task = begin("Encoding …");
  encoded.value = null;
  progress.value = { nDone: 0, nCells: report.value?.nCells ?? opened.value.nCells, seconds: 0 };
  const tell = proxy((now: Progress) => {
    if (task === latest) progress.value = now;
  });
  const outcome = await call((bench) => bench.encode(card.name, version.value, choice.value, tell));
  if (task !== latest) return;
  progress.value = null;
  if (outcome.ok) encoded.value = outcome.value;
  end(task, outcome.ok ? null : outcome.problem);
}

export function stop(): void {
  void worker().stop();
}

async function call<T>(ask: (bench: ReturnType<typeof worker>) => Promise<Outcome<T>>): Promise<Outcome<T>> {
  try {
    await worker().connect(base, token.value);
    return await ask(worker());
  } catch (error) {
    return { ok: false, problem: problemOf(error) };
  }
}

function begin(doing: string): number {
  busy.value = doing;
  problem.value = null;
  return ++latest;
}

function end(task: number, met: Problem | null): void {
  if (task !== latest) return;
  busy.value = null;
  problem.value = met;
}

function unreachable(): Problem {
  return { code: "unreachable", detail: "The example cells come from the service, and it does not answer." };
}

function labelsAs(value: string): { column: string } | { value: LabelValue } {
  if (value.startsWith("column:")) return { column: value.slice("column:".length) };
  return { value: JSON.parse(value.slice("value:".length)) as LabelValue };
}
