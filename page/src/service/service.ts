/** The service behind the page: its address, the caller's token, and its errors. */

import { type Problem, ServiceError } from "./problem";

const RETRIED = new Set([429, 503]);
const PROTOBUF = "application/x-protobuf";

export class Service {
  constructor(
    /** Where the page came from, which ends with `/`. */
    readonly base: string,
    private readonly token: string | null = null,
  ) {}

  /** The JSON of a route such as `v1/models`. */
  async json<T>(path: string, signal?: AbortSignal): Promise<T> {
    const answer = await this.ask(path, { signal: signal ?? null });
    return (await answer.json()) as T;
  }

  /** Post a message of protobuf; the answer's bytes. */
  async post(path: string, body: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<Uint8Array> {
    const headers = { "content-type": PROTOBUF, accept: PROTOBUF, "x-request-priority": "bulk" };
    const answer = await this.ask(path, { method: "POST", headers, body, signal: signal ?? null });
    return new Uint8Array(await answer.arrayBuffer());
  }

  private async ask(path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.token) headers.set("authorization", `Bearer ${this.token}`);
    let answer: Response;
    try {
      answer = await fetch(new URL(path, this.base), { ...init, headers, cache: "no-store", credentials: "omit" });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      const detail = "The service does not answer. It may be stopped or restarting, or the network is down.";
      throw new ServiceError({ code: "unreachable", detail }, true, 0);
    }
    if (!answer.ok) throw await refusal(answer);
    return answer;
  }
}

/** The path of a model's version. */
export function modelPath(model: string, version: string): string {
  return `v1/models/${encodeURIComponent(model)}/versions/${encodeURIComponent(version)}`;
}

async function refusal(answer: Response): Promise<ServiceError> {
  const retryAfterS = Number(answer.headers.get("retry-after")) || 0;
  let problem: Problem;
  try {
    const said = (await answer.json()) as { code: string; detail: string; request_id: string };
    problem = { code: said.code, detail: said.detail, requestId: said.request_id };
    if (!said.code || !said.detail) throw new TypeError("not the service's own words");
  } catch {
    // A proxy in front of it.
    const detail = `Something in front of the service answered ${answer.status} ${answer.statusText}`.trim();
    problem = { code: answer.status === 503 || answer.status === 502 ? "unreachable" : "proxy", detail: `${detail}.` };
  }
  const mayRetry = RETRIED.has(answer.status) || problem.code === "unreachable";
  return new ServiceError(problem, mayRetry, retryAfterS);
}
