/** Sends a plan's cells in slices, a few at a time, and puts the answers together. */

import type { Plan } from "../planning/contract";
import { encodeRequest, encodeResponse, requestBytes } from "../service/message";
import { modelPath, type Service } from "../service/service";
import type { Limits } from "../service/types";
import { Latents } from "./latents";
import { patiently } from "./patience";

/** Enough for the service to be busy while the next slice is read. */
const IN_FLIGHT = 3;
/** Cells of a slice: large enough that the call itself costs little, small enough for a smooth bar. */
const SLICE_CELLS = 1024;
/** Of a slice's message, at most; well below any server's limit, and little beside the page's memory. */
const SLICE_BYTES = 16 << 20;

export interface Run {
  service: Service;
  limits: Limits;
  model: string;
  version: string;
  signal: AbortSignal;
  /** Told after each slice, with the cells done so far. */
  progress: (nDone: number) => void;
}

/** The posterior of every cell. What cannot be answered ends the run. */
export async function encodeAll(plan: Plan, run: Run): Promise<Latents> {
  const latents = new Latents(run.model, run.version, plan.nCells);
  const flying = new Set<Promise<void>>();
  const failed = new AbortController();
  const signal = AbortSignal.any([run.signal, failed.signal]);
  let failure: unknown = null;

  const send = async (from: number, body: Uint8Array<ArrayBuffer>) => {
    const path = `${modelPath(run.model, run.version)}/encode`;
    const answer = await patiently(() => run.service.post(path, body, signal), signal);
    latents.take(from, encodeResponse(answer));
    run.progress(latents.nDone);
  };
  const start = (from: number, body: Uint8Array<ArrayBuffer>) => {
    const flight = send(from, body)
      .catch((error) => {
        failure ??= error;
        failed.abort();
      })
      .finally(() => flying.delete(flight));
    flying.add(flight);
  };

  try {
    for (const [from, body] of slices(plan, run)) {
      start(from, body);
      // Also lets the worker hear the stop button between slices.
      await (flying.size < IN_FLIGHT ? nextTurn() : Promise.race(flying));
      if (signal.aborted) break;
    }
  } catch (error) {
    failure ??= error;
    failed.abort();
  }
  await Promise.all(flying);
  if (run.signal.aborted) throw new DOMException("stopped", "AbortError");
  if (failure !== null) throw failure;
  return latents;
}

/** The messages, one after another; a slice that is too large a message is halved. */
function* slices(plan: Plan, run: Run): Generator<[number, Uint8Array<ArrayBuffer>]> {
  const most = Math.min(SLICE_BYTES, run.limits.max_request_bytes);
  let size = Math.min(SLICE_CELLS, run.limits.max_request_cells);
  for (let from = 0; from < plan.nCells; ) {
    const to = Math.min(from + size, plan.nCells);
    const body = requestBytes(encodeRequest(plan, from, to));
    if (body.length > most && to - from > 1) {
      size = Math.ceil((to - from) / 2);
      continue;
    }
    yield [from, body];
    from = to;
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}
