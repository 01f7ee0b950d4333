/** The worker: it holds the file and the latents, so that the page's own thread only draws. */

import { expose, type Remote, releaseProxy } from "comlink";
import { Notices } from "../encoding/notices";
import { encodeAll } from "../encoding/run";
import type { Question } from "../planning/contract";
import { type Fit, fitOf } from "../planning/fit";
import { plan, questions } from "../planning/plan";
import { InputError } from "../reading/contract";
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
import type { CellWorker, Coverage, Encoded, Opened, Outcome, Progress, Report } from "./contract";
import { Holdings } from "./holdings";

/** Of the cells that the service looks at before the whole is encoded; from three places of the file. */
const CHECKED_CELLS = 192;
const CHECKED_PLACES = 3;

const SEED = 0n;
/** Between two words to the page about how far it is. */
const PROGRESS_MS = 100;

let service = new Service(self.location.href);
let running = new AbortController();
const held = new Holdings();

const worker: CellWorker = {
  connect(base, token) {
    service = new Service(base, token);
  },

  open(files) {
    return outcome(async (): Promise<Opened> => {
      const study = await openFiles(files);
      const { fileName, format, genes, turned } = study;
      const nColumns = genes.layers.length > 0 ? genes.matrix(genes.layers[0]).nColumns : 0;
      return { id: held.addStudy(study), fileName, format, nCells: genes.nCells, nColumns, isSheet: turned !== null };
    });
  },

  drop(id) {
    held.drop(id);
  },

  fit(file, model, version) {
    return outcome(async (): Promise<Fit> => fitOf(held.study(file), await card(model, version)));
  },

  questions(file, model, version, choice) {
    return outcome(async (): Promise<Question[]> => questions(held.study(file), await card(model, version), choice));
  },

  check(file, model, version, choice) {
    return outcome(async (): Promise<Report> => {
      const found = await card(model, version);
      const made = plan(held.study(file), found, choice);
      const notices = new Notices();
      let nChecked = 0;
      let answer: ValidateResponse | null = null;
      for (const [from, to] of checkedRanges(made.nCells)) {
        const body = requestBytes(encodeRequest(made, from, to, { withExtra: true }));
        answer = validateResponse(await service.post(`${modelPath(model, version)}/validate`, body));
        notices.take(answer.warnings);
        nChecked += Number(answer.nCells);
        held.study(file); // which may have been dropped meanwhile
      }
      if (answer === null) throw new InputError("The file has no cells.");
      return {
        model,
        version,
        sha256: found.sha256,
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

  encode(file, model, version, choice, progress) {
    const stopping = new AbortController();
    running = stopping;
    const { signal } = stopping;
    const encoded = outcome(async (): Promise<Encoded> => {
      const found = await card(model, version, signal);
      const { sha256 } = found;
      const made = plan(held.study(file), found, choice);
      const limits = await service.json<Limits>("v1/limits", signal);
      const began = performance.now();
      const told = paced(progress, made.nCells, began);
      const latents = await encodeAll(made, { service, limits, model, version, signal, progress: told });
      const seconds = (performance.now() - began) / 1000;
      await sameModel(model, version, sha256, signal);
      return {
        id: held.addResult({ plan: made, latents, sha256, ids: made.table.cellIds() }),
        model,
        version,
        sha256,
        nCells: latents.nCells,
        nLatent: latents.nLatent,
        latentDistribution: found.latent_distribution,
        batchKey: found.batch?.key ?? null,
        obs: [...made.table.obs],
        nInRequest: cellsOfRequest(made, limits),
        warnings: latents.notices.all,
        seconds,
      };
    });
    // It comes through a channel of its own, which nobody else closes.
    return encoded.finally(() => (progress as Remote<typeof progress>)[releaseProxy]());
  },

  stop() {
    running.abort();
  },

  async cellIds(result) {
    return held.result(result).ids;
  },

  colouring(result, name) {
    return outcome(async (): Promise<Colouring> => {
      const { latents, plan: made } = held.result(result);
      if (name === "library") {
        return { kind: "numbers", title: "library size (counts of the model's genes)", values: latents.library };
      }
      if (name === "uncertainty") {
        return { kind: "numbers", title: "posterior uncertainty (mean sd of q(z))", values: latents.uncertainty() };
      }
      const title = name.slice("obs:".length);
      return colouringOf(title, made.table.obsColumn(title));
    });
  },

  async latent(result) {
    const { latents } = held.result(result);
    return { z: latents.z.slice(), nLatent: latents.nLatent };
  },

  posterior(result, cell, nSamples) {
    return outcome(async (): Promise<Posterior> => {
      const { plan: made, latents, sha256, ids } = held.result(result);
      const body = requestBytes(encodeRequest(made, cell, cell + 1, { nSamples, seed: SEED }));
      const path = `${modelPath(latents.model, latents.version)}/encode`;
      const answer = encodeResponse(await service.post(path, body));
      await sameModel(latents.model, latents.version, sha256);
      return {
        cell,
        cellId: ids[cell],
        mean: floats(answer.qz?.mean),
        variance: floats(answer.qz?.variance),
        samples: floats(answer.samples?.untranLatent?.z),
        seed: Number(SEED),
      };
    });
  },

  async csv(result) {
    const { latents, ids } = held.result(result);
    return csvOf(latents, ids);
  },

  async npz(result) {
    const { latents, ids } = held.result(result);
    return npzOf(latents, ids);
  },

  requestJson(result) {
    return outcome(async (): Promise<RequestFile> => {
      const limits = await service.json<Limits>("v1/limits");
      const { plan: made, ids } = held.result(result);
      return requestJson(made, ids, limits);
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
