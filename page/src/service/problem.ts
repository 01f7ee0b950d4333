/** What went wrong, for a person; the one kind of failure that the page shows. */
export interface Problem {
  /** `input`, `stopped`, `unreachable`, or the service's own code. */
  code: string;
  /** One or two sentences: what is wrong and what to do. */
  detail: string;
  /** Under which the service's log has the call. */
  requestId?: string;
}

/** The service refuses, fails, or does not answer. */
export class ServiceError extends Error {
  override readonly name = "ServiceError";

  constructor(
    readonly problem: Problem,
    /** Whether asking again later may succeed. */
    readonly mayRetry: boolean,
    /** What the service asks to wait, in seconds. */
    readonly retryAfterS: number,
  ) {
    super(problem.detail);
  }
}

/** Any exception as a problem; what nobody expected says so. */
export function problemOf(error: unknown): Problem {
  if (error instanceof ServiceError) return error.problem;
  if (error instanceof Error && error.name === "InputError") return { code: "input", detail: error.message };
  if (error instanceof Error && error.name === "AbortError") return { code: "stopped", detail: "Stopped." };
  if (error instanceof RangeError && /allocat|memory|length/i.test(error.message)) {
    return { code: "input", detail: "The browser has no memory for this file. The client reads files of any size." };
  }
  const said = error instanceof Error ? error.message : String(error);
  if (/dynamically imported module|importing a module|loading chunk/i.test(said)) {
    // The service was replaced by one with other files, or is not there.
    return { code: "unreachable", detail: "A part of this page could not be loaded. Load the page again." };
  }
  return { code: "page", detail: `The page met a fault of its own: ${said}. Reloading it helps; please tell us.` };
}
