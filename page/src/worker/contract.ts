/** What the page asks of the worker (through comlink). All of it is plain data. */

import type { Notice } from "../encoding/notices";
import type { Choice, Question } from "../planning/contract";
import type { Fit } from "../planning/fit";
import type { Colouring, Posterior } from "../seeing/contract";
import type { Problem } from "../service/problem";

export interface Opened {
  /** Under which the worker holds it, until it is dropped. */
  id: number;
  fileName: string;
  format: string;
  nCells: number;
  nColumns: number;
  /** A table of text whose rows may be cells or genes: a model tells which. */
  isSheet: boolean;
}

/** What the service says of the file before it computes: `validate`'s answer in words. */
export interface Coverage {
  given: number;
  known: number;
  missing: number;
  extra: number;
  coverage: number;
}

export interface Report {
  model: string;
  version: string;
  /** Of the artifact. */
  sha256: string;
  nCells: number;
  /** Cells of the file that the service looked at. */
  nChecked: number;
  counts: string;
  genes: Coverage;
  proteins: Coverage;
  /** Sentences on why genes or proteins may be missing, as the file's names tell. */
  hints: string[];
  warnings: Notice[];
}

export interface Progress {
  nDone: number;
  nCells: number;
  seconds: number;
}

/** The result as the page needs it; the latents themselves stay in the worker. */
export interface Encoded {
  /** Under which the worker holds it, until it is dropped. */
  id: number;
  model: string;
  version: string;
  /** Of the artifact. */
  sha256: string;
  nCells: number;
  nLatent: number;
  latentDistribution: "normal" | "ln";
  /** Column that the model calls the batch; null: it has none. */
  batchKey: string | null;
  /** Columns of `obs` to colour by. */
  obs: string[];
  /** How many cells, from the first on, one request by hand may hold. */
  nInRequest: number;
  /** Of all cells; the report's are of those that were checked. */
  warnings: Notice[];
  seconds: number;
}

export type Outcome<T> = { ok: true; value: T } | { ok: false; problem: Problem };

export interface CellWorker {
  /** The address of the service and the token; before anything else, and whenever the token changes. */
  connect(base: string, token: string | null): void;
  open(files: File[]): Promise<Outcome<Opened>>;
  /** Give up a file or a result. The page does so with each that it no longer shows, or never came to show. */
  drop(id: number): void;
  fit(file: number, model: string, version: string): Promise<Outcome<Fit>>;
  /** Which things a person may choose for this model, given what they chose already. */
  questions(file: number, model: string, version: string, choice: Choice): Promise<Outcome<Question[]>>;
  check(file: number, model: string, version: string, choice: Choice): Promise<Outcome<Report>>;
  encode(
    file: number,
    model: string,
    version: string,
    choice: Choice,
    progress: (now: Progress) => void,
  ): Promise<Outcome<Encoded>>;
  /** Stop encoding; `encode` then ends with `stopped`. */
  stop(): void;
  cellIds(result: number): Promise<string[]>;
  /** `obs:NAME`, `library`, `uncertainty`. */
  colouring(result: number, name: string): Promise<Outcome<Colouring>>;
  /** The latent representation, [cells x dimensions], for projections: a copy. */
  latent(result: number): Promise<{ z: Float32Array; nLatent: number }>;
  posterior(result: number, cell: number, nSamples: number): Promise<Outcome<Posterior>>;
  csv(result: number): Promise<Blob>;
  npz(result: number): Promise<Blob>;
  /** The body of the request for the cells (all of them, or the first ones that one request may hold), as JSON. */
  requestJson(result: number): Promise<Outcome<{ blob: Blob; nCells: number }>>;
}
