/** What is drawn: points in two dimensions, and what each is coloured by. */

/** Labels to colour cells by. */
export interface CategoryColouring {
  kind: "categories";
  title: string;
  categories: string[];
  /** [cells]: position in `categories`; -1: the cell has none. */
  codes: Int32Array;
}

/** Numbers to colour cells by. */
export interface NumberColouring {
  kind: "numbers";
  title: string;
  /** [cells]; NaN: the cell has none. */
  values: Float32Array;
}

export type Colouring = CategoryColouring | NumberColouring;

export interface Projection {
  kind: "PCA" | "UMAP";
  /** [2 x cells]: x, y, x, y … ; NaN, NaN for cells that are not part of it. */
  points: Float32Array;
  /** Of the two axes. */
  axes: [string, string];
  /** For finding cells by their place, from `indexed` in nearest.ts; left out, it is made when first needed. */
  index?: ArrayBuffer;
  /** What a person must know of it, such as that not all cells are shown. */
  note?: string;
}

/** As many cells a UMAP finishes within a minute on a busy machine; of more it takes these, drawn at random. */
export const MOST_UMAP_CELLS = 50000;

/** The posterior of one cell. */
export interface Posterior {
  cell: number;
  cellId: string;
  /** [dimensions]: of q(z). */
  mean: Float32Array;
  variance: Float32Array;
  /** [samples x dimensions]: draws of the untransformed z, row by row. */
  samples: Float32Array;
  seed: number;
}
