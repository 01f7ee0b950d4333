/** The worker: it holds the file and the latents, so that the page's own thread only draws. */

import { expose } from "comlink";
import type { Latents } from "../encoding/latents";
import { encodeAll } from "../encoding/run";
import type { Plan, Question } from "../planning/contract";
import { plan, questions } from "../planning/plan";
import { InputError, type Study } from "../reading/contract";
import { openFiles } from "../reading/open";
import type { Colouring, Posterior } from "../seeing/contract";
import { encodeRequest, encodeResponse, floats, requestBytes, validateResponse } from "../service/message";
import { problemOf } from "../service/problem";
import { modelPath, Service } from "../service/service";
import type { Card, Limits } from "../service/types";
import { csvOf } from "../taking/csv";
import { npzOf } from "../taking/npz";
import { type RequestFile, requestJson } from "../taking/request_json";
import type { CellWorker, Encoded, Opened, Outcome, Progress, Report } from "./contract";

/** Of the cells that the service looks at before the whole is encoded; from three places of the file. */
const CHECKED_CELLS = 192;
const CHECKED_PLACES = 3;

const SEED = 0n;
/** Between two words to the page about how far it is. */
const PROGRESS_MS = 100;

let service = new Service(self.location.href);
let study: Study | null = null;
let ids: string[] | null = null;
let current: { plan: Plan; latents: Latents } | null = null;
let running = new AbortController();

const worker: CellWorker = {
  connect(base, token) {
    service = new Service(base, token);
  },

  open(files) {
    return outcome(async (): Promise<Opened> => {
      worker.stop();
      study?.close();
      study = ids = current = null;
      const opened = await openFiles(files);
      study = opened;
      const { fileName, format, genes } = opened;
      const nColumns = genes.layers.length > 0 ? genes.matrix(genes.layers[0]).nColumns : 0;
      return { fileName, format, nCells: genes.nCells, nColumns, obs: [...genes.obs] };
    });
  },

  questions(model, version, choice) {
    return outcome(async (): Promise<Question[]> => questions(theStudy(), await card(model, version), choice));
  },

  check(model, version, choice) {
    return outcome(async (): Promise<Report> => {
      const made = plan(theStudy(), await card(model, version), choice);
      let report: Report | null = null;
      for (const [from, to] of checkedRanges(made.nCells)) {
        const body = requestBytes(encodeRequest(made, from, to, { withExtra: true }));
        const answer = validateResponse(await service.post(`${modelPath(model, version)}/validate`, body));
        report = joinedReport(report, reportOf(answer, made));
      }
      if (report === null) throw new InputError("The file has no cells.");
      return report;
    });
  },

  encode(model, version, choice, progress) {
    return outcome(async (): Promise<Encoded> => {
      const made = plan(theStudy(), await card(model, version), choice);
      const limits = await service.json<Limits>("v1/limits");
      running = new AbortController();
      const began = performance.now();
      const latents = await encodeAll(made, {
        service,
        limits,
        model,
        version,
        signal: running.signal,
        progress: paced(progress, made.nCells, began),
      });
      current = { plan: made, latents };
      ids = null;
      return {
        model,
        version,
        nCells: latents.nCells,
        nLatent: latents.nLatent,
        seconds: (performance.now() - began) / 1000,
        warnings: [...latents.notices.values()],
      };
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
      if (name === "library") return { kind: "numbers", title: "library size (counts)", values: latents.library };
      if (name === "uncertainty") {
        return { kind: "numbers", title: "posterior uncertainty (mean sd of q(z))", values: latents.uncertainty() };
      }
      return byColumn(name.slice("obs:".length));
    });
  },

  async latent() {
    const { latents } = theResult();
    return { z: latents.z.slice(), nLatent: latents.nLatent };
  },

  posterior(cell, nSamples) {
    return outcome(async (): Promise<Posterior> => {
      const { plan: made, latents } = theResult();
      const asked = nSamples > 0 ? { nSamples, seed: SEED } : {};
      const body = requestBytes(encodeRequest(made, cell, cell + 1, asked));
      const path = `${modelPath(latents.model, latents.version)}/encode`;
      const answer = encodeResponse(await service.post(path, body));
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

function theResult(): { plan: Plan; latents: Latents } {
  if (current === null) throw new InputError("No cells are encoded.");
  return current;
}

/** Of the table that was encoded: a sheet may have been turned to fit the model. */
function theIds(): string[] {
  ids ??= theResult().plan.table.cellIds();
  return ids;
}

function card(model: string, version: string): Promise<Card> {
  return service.json<Card>(modelPath(model, version));
}

/** A column of `obs` as colours. */
function byColumn(title: string): Colouring {
  const column = theResult().plan.table.obsColumn(title);
  if (column.kind === "categories") {
    return { kind: "categories", title, categories: column.categories.map(String), codes: column.codes };
  }
  return { kind: "numbers", title, values: Float32Array.from(column.values) };
}

function checkedRanges(nCells: number): [number, number][] {
  const each = Math.ceil(CHECKED_CELLS / CHECKED_PLACES);
  if (nCells <= CHECKED_CELLS) return nCells > 0 ? [[0, nCells]] : [];
  return Array.from({ length: CHECKED_PLACES }, (_, place) => {
    const from = Math.floor(((nCells - each) * place) / (CHECKED_PLACES - 1));
    return [from, from + each];
  });
}

function reportOf(answer: ReturnType<typeof validateResponse>, made: Plan): Report {
  const { genes, proteins } = answer;
  const counted = (coverage: typeof genes) => ({
    given: Number(coverage?.given ?? 0),
    known: Number(coverage?.known ?? 0),
    missing: Number(coverage?.missing ?? 0),
    extra: Number(coverage?.extra ?? 0),
    coverage: coverage?.coverage ?? 0,
  });
  return {
    model: answer.model,
    version: answer.modelVersion,
    nCells: made.nCells,
    nChecked: Number(answer.nCells),
    counts: made.counts,
    genes: counted(genes),
    proteins: counted(proteins),
    warnings: answer.warnings.map(({ code, detail, count, examples }) => ({
      code,
      detail,
      count: Number(count),
      examples: [...examples],
    })),
  };
}

function joinedReport(before: Report | null, now: Report): Report {
  if (before === null) return now;
  const seen = new Set(before.warnings.map((warning) => `${warning.code} ${warning.detail}`));
  const more = now.warnings.filter((warning) => !seen.has(`${warning.code} ${warning.detail}`));
  return { ...now, nChecked: before.nChecked + now.nChecked, warnings: [...before.warnings, ...more] };
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
