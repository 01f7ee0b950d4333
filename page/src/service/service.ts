/** The service behind the page: its address, the caller's token, and its errors. */

import { ServiceError } from "./problem";

const RETRIED = new Set([429, 502, 503]);
const PROTOBUF = "application/x-protobuf";
/** A service that has not told of itself by then hangs. */
const TOLD_MS = 10_000;
/** A slice waits for its turn behind other callers'. */
const ENCODED_MS = 180_000;

export class Service {
  constructor(
    /** Where the page came from, which ends with `/`. */
    readonly base: string,
    private readonly token: string | null = null,
  ) {}

  /** The JSON of a route such as `v1/models`. */
  json<T>(path: string, signal?: AbortSignal): Promise<T> {
    return this.ask(path, {}, TOLD_MS, signal, async (answer) => {
      const text = await answer.text();
      try {
        return JSON.parse(text) as T;
      } catch {
        throw notOurs(answer);
      }
    });
  }

  /** Post a message of protobuf; the answer's bytes. */
  post(path: string, body: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<Uint8Array> {
    const headers = { "content-type": PROTOBUF, accept: PROTOBUF, "x-request-priority": "bulk" };
    return this.ask(path, { method: "POST", headers, body }, ENCODED_MS, signal, async (answer) => {
      const bytes = new Uint8Array(await answer.arrayBuffer());
      if (answer.headers.get("content-type") !== PROTOBUF) throw notOurs(answer);
      return bytes;
    });
  }

  /** @throws ServiceError, or what `signal` was aborted with. */
  private async ask<T>(
    path: string,
    init: RequestInit,
    mostMs: number,
    signal: AbortSignal | undefined,
    read: (answer: Response) => Promise<T>,
  ): Promise<T> {
    const headers = new Headers(init.headers);
    if (this.token) headers.set("authorization", `Bearer ${this.token}`);
    const tooLate = AbortSignal.timeout(mostMs);
    const given = signal ? AbortSignal.any([signal, tooLate]) : tooLate;
    try {
      const how: RequestInit = { ...init, headers, signal: given, cache: "no-store", credentials: "omit" };
      const answer = await fetch(new URL(path, this.base), how);
      if (!answer.ok) throw await refusal(answer);
      return await read(answer);
    } catch (error) {
      if (error instanceof ServiceError || signal?.aborted) throw error;
      if (tooLate.aborted) {
        const detail = `The service has not answered within ${mostMs / 1000} seconds. It may hang, or be very busy.`;
        throw new ServiceError({ code: "unreachable", detail }, false, 0);
      }
      // The connection failed, before an answer or within it.
      const detail = "The service does not answer. It may be stopped or restarting, or the network is down.";
      throw new ServiceError({ code: "unreachable", detail }, true, 0);
    }
  }
}

/** The path of a model's version. */
export function modelPath(model: string, version: string): string {
  return `v1/models/${encodeURIComponent(model)}/versions/${encodeURIComponent(version)}`;
}

async function refusal(answer: Response): Promise<ServiceError> {
  const retryAfterS = Number(answer.headers.get("retry-after")) || 0;
  const mayRetry = RETRIED.has(answer.status);
  const text = await answer.text();
  try {
    const { code, detail, request_id: requestId } = JSON.parse(text) as Record<string, unknown>;
    if (typeof code === "string" && typeof detail === "string" && typeof requestId === "string") {
      return new ServiceError({ code, detail, requestId }, mayRetry, retryAfterS);
    }
  } catch {
    // Not JSON, so not the service's own words.
  }
  return notOurs(answer, mayRetry, retryAfterS);
}

/** Something between the page and the service answers in its place: a proxy, a login. */
function notOurs(answer: Response, mayRetry = false, retryAfterS = 0): ServiceError {
  const status = `${answer.status} ${answer.statusText}`.trim();
  const detail = `Something in front of the service answered in its place (${status}). Load the page again, or ask who runs it.`;
  return new ServiceError({ code: "proxy", detail }, mayRetry, retryAfterS);
}
