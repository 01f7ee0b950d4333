/** Asks the service how it is, every two seconds while somebody looks, and what it serves, now and then. */

import { signal } from "@preact/signals";
import { access, connect, models, service, trouble } from "../service/connection";
import { type Problem, problemOf } from "../service/problem";
import type { Stats } from "../service/types";
import { replicasOf } from "./replicas";

const EVERY_MS = 2000;
/** Turns between two looks at what is served; at each turn while a model loads or nobody answers. */
const MODELS_EVERY = 15;
/** Answers among which replicas are looked for. */
const REMEMBERED = 30;

export const stats = signal<Stats | null>(null);
export const silence = signal<Problem | null>(null);
/** How many replicas answer in turn: behind a balancer each tells of itself. */
export const nReplicas = signal(1);

let instances: string[] = [];

/** Ask until the page is closed; while it is not looked at, nothing is asked. */
export function watch(): void {
  let nTurns = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const turn = async () => {
    timer = undefined;
    if (document.visibilityState === "visible" && access.value !== "asked") {
      const isUnsettled = trouble.value !== null || models.value?.some((card) => card.state === "loading");
      if (isUnsettled || nTurns++ % MODELS_EVERY === 0) await connect();
      if (access.value === "open") await ask();
    }
    timer = setTimeout(turn, EVERY_MS);
  };
  document.addEventListener("visibilitychange", () => {
    // Looked at again: at once, unless it is being asked.
    nTurns = 0;
    if (timer === undefined) return;
    clearTimeout(timer);
    void turn();
  });
  void turn();
}

async function ask(): Promise<void> {
  try {
    const answered = await service().json<Stats>("v1/stats");
    if (silence.value !== null) void connect(); // it may serve other models by now
    silence.value = null;
    stats.value = answered;
    instances = [...instances.slice(1 - REMEMBERED), answered.instance];
    nReplicas.value = replicasOf(instances);
  } catch (error) {
    const problem = problemOf(error);
    if (problem.code === "unauthenticated" || problem.code === "forbidden") await connect();
    else silence.value = problem;
  }
}
