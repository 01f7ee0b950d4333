/**
 * UMAP of the cells, or of as many as finish within a minute, drawn at random.
 *
 * Written here because umap-js kept a gigabyte for 20,000 cells and took three times as long; this one holds plain arrays.
 */

import { MOST_UMAP_CELLS, type Projection } from "./contract";
import { graphOf } from "./fuzzy_graph";
import { neighboursOf } from "./neighbours";
import { pca } from "./pca";
import { seededRandom, shuffled } from "./random";
import { Layout } from "./umap_layout";

const FEWEST_CELLS = 5;
/** With the cell itself, as umap-learn counts them. */
const NEIGHBOURS = 15;
const SEED = 0;

export interface UmapProgress {
  /** What is going on, for a person. */
  stage: "finding neighbours" | "laying out";
  /** Of the layout. */
  epoch: number;
  nEpochs: number;
}

/** Of `z`, [cells x dimensions]; cells that are not drawn get NaN. Throws where there is nothing to lay out. */
export function umap(
  z: Float32Array,
  nCells: number,
  nLatent: number,
  onProgress: (now: UmapProgress) => void,
  mostCells: number = MOST_UMAP_CELLS,
): Projection {
  const { points: start, note } = pca(z, nCells, nLatent);
  const cells = chosen(start, nCells, mostCells);
  if (cells.length < FEWEST_CELLS) {
    throw new Error(
      `A UMAP needs at least ${FEWEST_CELLS} cells, and there are ${cells.length}. Look at the PCA instead.`,
    );
  }
  const extent = cells.reduce(
    (most, cell) => Math.max(most, Math.abs(start[2 * cell]), Math.abs(start[2 * cell + 1])),
    0,
  );
  if (extent === 0)
    throw new Error("All cells have the same latent values, so there is nothing that a UMAP could lay out.");

  onProgress({ stage: "finding neighbours", epoch: 0, nEpochs: 0 });
  const taken = new Float32Array(cells.length * nLatent);
  for (const [i, cell] of cells.entries()) taken.set(z.subarray(cell * nLatent, (cell + 1) * nLatent), i * nLatent);
  const graph = graphOf(neighboursOf(taken, cells.length, nLatent, Math.min(NEIGHBOURS, cells.length) - 1));

  // From the PCA groups keep their places to each other; a little noise parts equal cells.
  const random = seededRandom(SEED);
  const places = new Float32Array(2 * cells.length);
  for (const [i, cell] of cells.entries()) {
    places[2 * i] = (10 * start[2 * cell]) / extent + 1e-3 * (random() - 0.5);
    places[2 * i + 1] = (10 * start[2 * cell + 1]) / extent + 1e-3 * (random() - 0.5);
  }
  const layout = new Layout(places, graph, random);
  for (let epoch = 0; epoch < layout.nEpochs; epoch++) {
    onProgress({ stage: "laying out", epoch, nEpochs: layout.nEpochs });
    layout.step();
  }
  const points = new Float32Array(2 * nCells).fill(Number.NaN);
  for (const [i, cell] of cells.entries()) points.set(places.subarray(2 * i, 2 * i + 2), 2 * cell);
  const all = cells.length === nCells;
  const drawn = `UMAP of ${cells.length.toLocaleString("en")} of ${nCells.toLocaleString("en")} cells, drawn at random; the others are not shown.`;
  const axes: Projection["axes"] = ["UMAP 1", "UMAP 2"];
  if (all) return { kind: "UMAP", points, axes };
  return { kind: "UMAP", points, axes, note: cells.length < mostCells && note !== undefined ? note : drawn };
}

/** The cells to lay out, in their order: all that have a place, or so many of them by a fixed draw. */
function chosen(points: Float32Array, nCells: number, most: number): Uint32Array {
  const placed = shuffled(nCells, SEED).filter((cell) => Number.isFinite(points[2 * cell]));
  return placed.subarray(0, most).sort();
}
