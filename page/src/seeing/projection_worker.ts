/** Projects away from the page's thread, and from the cells' own worker, which may be encoding meanwhile. */

import { expose, transfer } from "comlink";
import type { Projection } from "./contract";
import { indexed } from "./nearest";
import { pca } from "./pca";
import { type UmapProgress, umap } from "./umap";

/** Milliseconds between two reports. */
const OFTEN = 100;

const work = {
  pca(z: Float32Array, nCells: number, nLatent: number): Projection {
    return sent(pca(z, nCells, nLatent));
  },
  /** Runs to its end without listening; to stop it, end the worker. */
  umap(z: Float32Array, nCells: number, nLatent: number, onProgress: (now: UmapProgress) => void): Projection {
    let told = Number.NEGATIVE_INFINITY;
    const report = (now: UmapProgress): void => {
      if (now.stage === "laying out" && now.epoch > 0 && performance.now() - told < OFTEN) return;
      told = performance.now();
      onProgress(now);
    };
    return sent(umap(z, nCells, nLatent, report));
  },
};

function sent(projection: Projection): Projection {
  const index = indexed(projection.points);
  return transfer({ ...projection, index }, [projection.points.buffer, index]);
}

export type ProjectionWork = typeof work;

expose(work);
