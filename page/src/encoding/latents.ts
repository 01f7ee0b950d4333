/** The posterior of all cells of a run, as it fills up. */

import { floats } from "../service/message";
import type { EncodeResponse } from "../service/stub/totalvi_v1_pb";
import { Notices } from "./notices";

export class Latents {
  nLatent = 0;
  /** [cells x dimensions], row by row: q(z) and what `get_latent_representation()` gives. */
  mean = new Float32Array(0);
  variance = new Float32Array(0);
  z = new Float32Array(0);
  /** [cells]: counts of the model's genes. */
  library: Float32Array;
  readonly notices = new Notices();
  nDone = 0;

  constructor(
    readonly model: string,
    readonly version: string,
    readonly nCells: number,
  ) {
    this.library = new Float32Array(nCells);
  }

  /** Take the answer for the cells from `from` on. */
  take(from: number, answer: EncodeResponse): void {
    const nCells = Number(answer.nCells);
    const mean = floats(answer.qz?.mean);
    if (this.nLatent === 0) {
      this.nLatent = mean.length / nCells;
      this.mean = new Float32Array(this.nCells * this.nLatent);
      this.variance = new Float32Array(this.nCells * this.nLatent);
      this.z = new Float32Array(this.nCells * this.nLatent);
    }
    this.mean.set(mean, from * this.nLatent);
    this.variance.set(floats(answer.qz?.variance), from * this.nLatent);
    this.z.set(floats(answer.z), from * this.nLatent);
    this.library.set(floats(answer.library?.observed), from);
    this.notices.take(answer.warnings);
    this.nDone += nCells;
  }

  /** [cells]: mean over the dimensions of the standard deviation of q(z). */
  uncertainty(): Float32Array {
    const values = new Float32Array(this.nCells);
    for (let cell = 0; cell < this.nCells; cell++) {
      let sum = 0;
      for (let k = 0; k < this.nLatent; k++) sum += Math.sqrt(this.variance[cell * this.nLatent + k]);
      values[cell] = sum / this.nLatent;
    }
    return values;
  }
}
