import type { Problem } from "../service/problem";

const TITLES: Record<string, string> = {
  input: "This file cannot be used as it is",
  stopped: "Stopped",
  unreachable: "The service does not answer",
  overloaded: "The service is busy",
  unavailable: "The service is not ready",
  invalid: "The service cannot encode these cells",
  too_large: "Too large for the service",
  unauthenticated: "The token is not accepted",
  forbidden: "The token is not for this",
  not_found: "The model is not served",
  picture: "There is no such picture of these cells",
  model_changed: "The model was replaced",
  proxy: "The service was not reached",
  deadline: "The service took too long",
  page: "A fault of the page",
};

/** What went wrong, in words; read out at once by screen readers. */
export function Trouble({ problem, again }: { problem: Problem; again?: (() => void) | undefined }) {
  return (
    <div class={problem.code === "stopped" ? "note" : "note bad"} role="alert">
      <strong>{TITLES[problem.code] ?? "The service answered with an error"}</strong>
      <p>{problem.detail}</p>
      {problem.requestId && (
        <p class="small">
          The service's log has it under request <code>{problem.requestId}</code>.
        </p>
      )}
      {again && (
        <button type="button" onClick={again}>
          Try again
        </button>
      )}
    </div>
  );
}
