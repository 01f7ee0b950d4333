/** Asks the service how it is, every two seconds while somebody looks. */

import { signal } from "@preact/signals";
import { access, connect, service, trouble } from "../service/connection";
import { type Problem, problemOf } from "../service/problem";
import type { Stats } from "../service/types";

const EVERY_MS = 2000;

export const stats = signal<Stats | null>(null);
export const silence = signal<Problem | null>(null);
/** Which replicas have answered: behind a balancer each tells of itself. */
export const instances = signal<ReadonlySet<string>>(new Set());

/** Ask until the page is closed; while it is not looked at, nothing is asked. */
export function watch(): void {
  const turn = async () => {
    if (document.visibilityState === "visible" && access.value === "open") await ask();
    setTimeout(turn, EVERY_MS);
  };
  void turn();
}

async function ask(): Promise<void> {
  try {
    const answered = await service().json<Stats>("v1/stats");
    if (silence.value !== null || trouble.value !== null) void connect(); // it may serve other models by now
    silence.value = null;
    stats.value = answered;
    if (!instances.value.has(answered.instance)) instances.value = new Set([...instances.value, answered.instance]);
  } catch (error) {
    const problem = problemOf(error);
    if (problem.code === "unauthenticated" || problem.code === "forbidden") await connect();
    else silence.value = problem;
  }
}
