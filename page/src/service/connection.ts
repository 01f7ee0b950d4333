/** What the page knows of the service: signals that all of its parts read. */

import { signal } from "@preact/signals";
import { type Problem, problemOf, ServiceError } from "./problem";
import { Service } from "./service";
import type { Card, CardList, Limits } from "./types";

const TOKEN_KEY = "totalvi-token";
/** What a header can bear. */
const TOKEN = /^[\x21-\x7e]+$/;

/** Where the page lies, which is where the service does. */
export const base = new URL(".", document.baseURI).href;

/** Kept for this tab alone, and gone with it. */
export const token = signal<string | null>(sessionStorage.getItem(TOKEN_KEY));
/** `asked`: the service wants a token, and there is none or another one is needed. */
export const access = signal<"unknown" | "open" | "asked">("unknown");
export const refused = signal<string | null>(null);
export const models = signal<Card[] | null>(null);
export const limits = signal<Limits | null>(null);
export const serverVersion = signal("");
export const trouble = signal<Problem | null>(null);

export function service(): Service {
  return new Service(base, token.value);
}

/** Ask for what is served: at first, after a token was given, and now and then while somebody looks (`watching`). */
export async function connect(): Promise<void> {
  try {
    const [list, published] = await Promise.all([
      service().json<CardList>("v1/models"),
      service().json<Limits>("v1/limits"),
    ]);
    models.value = list.models;
    limits.value = published;
    serverVersion.value = list.server_version;
    access.value = "open";
    refused.value = trouble.value = null;
  } catch (error) {
    const problem = problemOf(error);
    if (error instanceof ServiceError && (problem.code === "unauthenticated" || problem.code === "forbidden")) {
      refused.value = token.value === null ? null : problem.detail;
      access.value = "asked";
    } else trouble.value = problem;
  }
}

/** Use a caller's token from now on; kept once it is accepted. */
export async function useToken(given: string): Promise<void> {
  if (!TOKEN.test(given)) {
    refused.value =
      "a token is letters, digits and signs without spaces; this one has others, perhaps from a text program.";
    return;
  }
  token.value = given;
  await connect();
  if (access.value === "open") sessionStorage.setItem(TOKEN_KEY, given);
}

export async function forgetToken(): Promise<void> {
  token.value = null;
  sessionStorage.removeItem(TOKEN_KEY);
  models.value = null;
  await connect();
}
