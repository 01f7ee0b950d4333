/** What the service's routes answer, as far as the page reads it. */

/** A label of cells: a batch, or a category of a covariate. */
export type LabelValue = string | number | boolean;

/** A categorical input of a model. */
export interface CategoricalField {
  /** Column of `obs` that the model was set up with. */
  key: string;
  /** The labels it knows. */
  categories: LabelValue[];
}

/** `GET /v1/models/NAME`; from `genes` on only where `state` is `ready`. */
export interface Card {
  name: string;
  version: string;
  versions: string[];
  state: "loading" | "ready" | "failed";
  sha256: string;
  reason?: string;
  model_class?: string;
  genes: string[];
  proteins: string[];
  batch: CategoricalField | null;
  categorical_covariates: CategoricalField[];
  continuous_covariates: string[];
  n_latent: number;
  n_hidden: number;
  n_layers: number;
  latent_distribution: "normal" | "ln";
  encode_covariates: boolean;
  input_transform: string;
  input_transform_decision: string;
  library_encoder_trained: boolean;
  proteins_missing_per_batch: Record<string, string[]>;
  scvi_version: string;
  precision: string;
}

export interface CardList {
  models: Card[];
  server_version: string;
}

/** `GET /v1/limits`. */
export interface Limits {
  max_request_bytes: number;
  max_request_cells: number;
  max_samples: number;
  max_sample_values: number;
  max_columns: number;
}

/** Milliseconds of one phase of the calls of each interval; null where there were none. */
export interface PhaseSeries {
  mean_ms: (number | null)[];
  p50_ms: (number | null)[];
  p95_ms: (number | null)[];
  max_ms: (number | null)[];
}

/** `GET /v1/stats`. */
export interface Stats {
  server_version: string;
  instance: string;
  uptime_s: number;
  state: string;
  interval_s: number;
  /** Of the interval that has not ended yet. */
  running_s: number;
  /** The limit is that of each of the two priorities. */
  queue: { cells: number; limit_cells: number };
  in_flight: number;
  /** Oldest first; the last one has not ended. */
  intervals: {
    ended_s_ago: number[];
    cells: number[];
    calls: number[];
    refused: number[];
    failed: number[];
    rejected: number[];
    batches: number[];
    batch_cells: number[];
    busy_s: number[];
    queue_cells_max: number[];
    phases: Record<"decode" | "queue" | "compute" | "encode" | "total", PhaseSeries>;
  };
}
