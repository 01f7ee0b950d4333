/** The page's side of the projection worker: asks, and stops by ending it. */

import { proxy, type Remote, wrap } from "comlink";
import type { Projection } from "./contract";
import type { ProjectionWork } from "./projection_worker";
import type { UmapProgress } from "./umap";

export class Projections {
  private worker: Worker | null = null;
  private work: Remote<ProjectionWork> | null = null;
  private leave: ((reason: Error) => void) | null = null;

  /** PCA of `z`, [cells x dimensions]. */
  pca(z: Float32Array, nCells: number, nLatent: number): Promise<Projection> {
    return this.unlessStopped((work) => work.pca(z, nCells, nLatent));
  }

  /** UMAP; rejects with `StoppedError` after `stop`, and with an error for people where there is nothing to lay out. */
  umap(z: Float32Array, nCells: number, nLatent: number, onProgress: (now: UmapProgress) => void): Promise<Projection> {
    let ended = false;
    // What the worker said before it was ended may still arrive after.
    const report = (now: UmapProgress): void => {
      if (!ended) onProgress(now);
    };
    return this.unlessStopped((work) => work.umap(z, nCells, nLatent, proxy(report))).finally(() => {
      ended = true;
    });
  }

  /** Ends whatever is running, at once. */
  stop(): void {
    this.worker?.terminate();
    this.worker = null;
    this.work = null;
    this.leave?.(new StoppedError("The projection was stopped."));
    this.leave = null;
  }

  private unlessStopped(ask: (work: Remote<ProjectionWork>) => Promise<Projection>): Promise<Projection> {
    // One at a time: who asks again no longer wants what was asked before.
    if (this.leave !== null) this.stop();
    return new Promise((resolve, reject) => {
      this.leave = reject;
      const ended = (): void => {
        if (this.leave === reject) this.leave = null;
      };
      ask(this.started()).then(resolve, reject).finally(ended);
    });
  }

  private started(): Remote<ProjectionWork> {
    if (this.work === null) {
      this.worker = new Worker(new URL("./projection_worker.ts", import.meta.url), { type: "module" });
      this.worker.onerror = (event) => {
        const leave = this.leave;
        this.stop();
        leave?.(new Error(`The projection failed: ${event.message || "its worker could not be started"}.`));
      };
      this.work = wrap<ProjectionWork>(this.worker);
    }
    return this.work;
  }
}

export class StoppedError extends Error {
  override readonly name = "StoppedError";
}
