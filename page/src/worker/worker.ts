/** The worker: it holds the file and the latents, so that the page's own thread only draws. */

import { expose } from "comlink";
import type { Latents } from "../encoding/latents";
import { Notices } from "../encoding/notices";
import { encodeAll } from "../encoding/run";
import { NO_CHOICE, type Plan, type Question } from "../planning/contract";
import { plan, questions } from "../planning/plan";
import { InputError, type Study } from "../reading/contract";
import { openFiles } from "../reading/open";
import type { Colouring, Posterior } from "../seeing/contract";
import { encodeRequest, encodeResponse, floats, requestBytes, validateResponse } from "../service/message";
import { problemOf, ServiceError } from "../service/problem";
import { modelPath, Service } from "../service/service";
import type { ValidateResponse } from "../service/stub/totalvi_v1_pb";
import type { Card, Limits } from "../service/types";
import { csvOf } from "../taking/csv";
import { npzOf } from "../taking/npz";
import { cellsOfRequest, type RequestFile, requestJson } from "../taking/request_json";
import { colouringOf } from "./colouring";
import type { CellWorker, Coverage, Encoded, Fit, Opened, Outcome, Progress, Report } from "./contract";

/** Of the cells that the service looks at before the whole is encoded; from three places of the file. */
const CHECKED_CELLS = 192;
const CHECKED_PLACES = 3;

const SEED = 0n;
/** Between two words to the page about how far it is. */
const PROGRESS_MS = 100;

let service = new Service(self.location.href);
let study: Study | null = null;
let ids: string[] | null = null;
let current: { plan: Plan; latents: Latents; sha256: string } | null = null;
let running = new AbortController();
/** How often a file was asked for: what was asked before the last time is no longer wanted. */
let nOpened = 0;

const worker: CellWorker = {
  connect(base, token) {
    service = new Service(base, token);
  },

  open(files) {
    return outcome(async (): Promise<Opened> => {
      const turn = ++nOpened;
      worker.stop();
      const opened = await openFiles(files);
      if (turn !== nOpened) {
        opened.close();
        throw stopped();
      }
      // What was there before stays until something else can be read.
      study?.close();
      study = opened;
      ids = current = null;
      const { fileName, format, genes, turned } = opened;
      const nColumns = genes.layers.length > 0 ? genes.matrix(genes.layers[0]).nColumns : 0;
      return { fileName, format, nCells: genes.nCells, nColumns, isSheet: turned !== null };
    });
  },

  fit(model, version) {
    return outcome(async (): Promise<Fit> => {
      const { opened, found } = await withCard(model, version);
      const nOpen = questions(opened, found, NO_CHOICE).filter((question) => question.found === null).length;
      return { nOpen, share: shareOfGenes(opened, found) };
    });
  },

  questions(model, version, choice) {
    return outcome(async (): Promise<Question[]> => {
      const { opened, found } = await withCard(model, version);
      return questions(opened, found, choice);
    });
  },

  check(model, version, choice) {
    return outcome(async (): Promise<Report> => {
      const { opened, found } = await withCard(model, version);
      const made = plan(opened, found, choice);
      const notices = new Notices();
      let nChecked = 0;
      let answer: ValidateResponse | null = null;
      for (const [from, to] of checkedRanges(made.nCells)) {
        const body = requestBytes(encodeRequest(made, from, to, { withExtra: true }));
        answer = validateResponse(await service.post(`${modelPath(model, version)}/validate`, body));
        stillOpen(opened);
        notices.take(answer.warnings);
        nChecked += Number(answer.nCells);
      }
      if (answer === null) throw new InputError("The file has no cells.");
      return {
        model: answer.model,
        version: answer.modelVersion,
        nCells: made.nCells,
        nChecked,
        counts: made.counts,
        genes: coverageOf(answer.genes),
        proteins: coverageOf(answer.proteins),
        hints: made.hints,
        warnings: notices.all,
      };
    });
  },

  encode(model, version, choice, progress) {
    const stopping = new AbortController();
    running = stopping;
    const { signal } = stopping;
    return outcome(async (): Promise<Encoded> => {
      const { opened, found } = await withCard(model, version, signal);
      const made = plan(opened, found, choice);
      const limits = await service.json<Limits>("v1/limits", signal);
      const began = performance.now();
      const told = paced(progress, made.nCells, began);
      const latents = await encodeAll(made, { service, limits, model, version, signal, progress: told });
      const seconds = (performance.now() - began) / 1000;
      await sameModel(model, version, found.sha256, signal);
      stillOpen(opened);
      current = { plan: made, latents, sha256: found.sha256 };
      ids = null;
      const { nCells, nLatent } = latents;
      const nInRequest = cellsOfRequest(made, limits);
      const warnings = latents.notices.all;
      return { model, version, nCells, nLatent, seconds, warnings, obs: [...made.table.obs], nInRequest };
    });
  },

  stop() {
    running.abort();
  },

  async cellIds() {
    return theIds();
  },

  colouring(name) {
    return outcome(async (): Promise<Colouring> => {
      const { latents } = theResult();
      if (name === "library")
        return { kind: "numbers", title: "library size (counts of the model's genes)", values: latents.library };
      if (name === "uncertainty") {
        return { kind: "numbers", title: "posterior uncertainty (mean sd of q(z))", values: latents.uncertainty() };
      }
      const title = name.slice("obs:".length);
      return colouringOf(title, theResult().plan.table.obsColumn(title));
    });
  },

  async latent() {
    const { latents } = theResult();
    return { z: latents.z.slice(), nLatent: latents.nLatent };
  },

  posterior(cell, nSamples) {
    return outcome(async (): Promise<Posterior> => {
      const { plan: made, latents, sha256 } = theResult();
      const asked = nSamples > 0 ? { nSamples, seed: SEED } : {};
      const body = requestBytes(encodeRequest(made, cell, cell + 1, asked));
      const path = `${modelPath(latents.model, latents.version)}/encode`;
      const answer = encodeResponse(await service.post(path, body));
      await sameModel(latents.model, latents.version, sha256);
      return {
        cell,
        cellId: theIds()[cell],
        mean: floats(answer.qz?.mean),
        variance: floats(answer.qz?.variance),
        samples: nSamples > 0 ? floats(answer.samples?.untranLatent?.z) : new Float32Array(0),
        seed: Number(SEED),
      };
    });
  },

  async csv() {
    return csvOf(theResult().latents, theIds());
  },

  async npz() {
    return npzOf(theResult().latents, theIds());
  },

  requestJson() {
    return outcome(async (): Promise<RequestFile> => {
      const limits = await service.json<Limits>("v1/limits");
      return requestJson(theResult().plan, theIds(), limits);
    });
  },
};

async function outcome<T>(work: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: true, value: await work() };
  } catch (error) {
    return { ok: false, problem: problemOf(error) };
  }
}

function theStudy(): Study {
  if (study === null) throw new InputError("No file is open.");
  return study;
}

function theResult(): NonNullable<typeof current> {
  if (current === null) throw new InputError("No cells are encoded.");
  return current;
}

/** Of the table that was encoded: a sheet may have been turned to fit the model. */
function theIds(): string[] {
  ids ??= theResult().plan.table.cellIds();
  return ids;
}

function stopped(): DOMException {
  return new DOMException("stopped", "AbortError");
}

/** Another file may have been opened while an answer was waited for. */
function stillOpen(opened: Study): void {
  if (study !== opened) throw stopped();
}

async function withCard(model: string, version: string, signal?: AbortSignal): Promise<{ opened: Study; found: Card }> {
  const opened = theStudy();
  const found = await card(model, version, signal);
  stillOpen(opened);
  return { opened, found };
}

function card(model: string, version: string, signal?: AbortSignal): Promise<Card> {
  return service.json<Card>(modelPath(model, version), signal);
}

/** Answers bear no digest of the artifact, which may be exported anew under its number, or differ between replicas. */
async function sameModel(model: string, version: string, sha256: string, signal?: AbortSignal): Promise<void> {
  const now = await card(model, version, signal);
  if (now.sha256 === sha256) return;
  const detail = `${model}, version ${version}, was replaced by another model meanwhile. Encode the cells again.`;
  throw new ServiceError({ code: "model_changed", detail }, false, 0);
}

/** The share of the model's genes that the file has; 0 where they cannot be matched. */
function shareOfGenes(opened: Study, found: Card): number {
  try {
    return plan(opened, found, NO_CHOICE).genes.names.length / found.genes.length;
  } catch {
    return 0;
  }
}

function checkedRanges(nCells: number): [number, number][] {
  const each = Math.ceil(CHECKED_CELLS / CHECKED_PLACES);
  if (nCells <= CHECKED_CELLS) return nCells > 0 ? [[0, nCells]] : [];
  return Array.from({ length: CHECKED_PLACES }, (_, place) => {
    const from = Math.floor(((nCells - each) * place) / (CHECKED_PLACES - 1));
    return [from, from + each];
  });
}

function coverageOf(counted: ValidateResponse["genes"]): Coverage {
  return {
    given: Number(counted?.given ?? 0),
    known: Number(counted?.known ?? 0),
    missing: Number(counted?.missing ?? 0),
    extra: Number(counted?.extra ?? 0),
    coverage: counted?.coverage ?? 0,
  };
}

function paced(progress: (now: Progress) => void, nCells: number, began: number): (nDone: number) => void {
  let told = 0;
  return (nDone) => {
    const now = performance.now();
    if (now - told < PROGRESS_MS && nDone < nCells) return;
    told = now;
    progress({ nDone, nCells, seconds: (now - began) / 1000 });
  };
}

expose(worker);
