/** What the worker holds for the page: opened files and encoded cells, each under a number, until the page drops it. */

import type { Latents } from "../encoding/latents";
import type { Plan } from "../planning/contract";
import { InputError, type Study } from "../reading/contract";

/** Encoded cells with what they were made of. */
export interface Made {
  plan: Plan;
  latents: Latents;
  /** Of the artifact that computed them. */
  sha256: string;
  ids: string[];
}

export class Holdings {
  private readonly studies = new Map<number, Study>();
  private readonly results = new Map<number, Made>();
  private last = 0;

  addStudy(study: Study): number {
    this.studies.set(++this.last, study);
    return this.last;
  }

  addResult(made: Made): number {
    this.results.set(++this.last, made);
    return this.last;
  }

  study(id: number): Study {
    const study = this.studies.get(id);
    if (study === undefined) throw new InputError("The file is no longer open. Drop it again.");
    return study;
  }

  result(id: number): Made {
    const made = this.results.get(id);
    if (made === undefined) throw new InputError("The encoded cells are no longer there. Encode them again.");
    return made;
  }

  /** Give up an opened file or encoded cells; what is not held is none the worse. */
  drop(id: number): void {
    this.studies.get(id)?.close();
    this.studies.delete(id);
    this.results.delete(id);
  }
}
