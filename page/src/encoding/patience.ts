/** When to ask again, and how long to wait before; the client's rules. */

import { ServiceError } from "../service/problem";

const ATTEMPTS = 8;
const FIRST_WAIT_S = 0.25;
const MOST_WAIT_S = 10;
/** A longer wait that the service asks for is not waited in front of a page. */
const LONGEST_ASKED_S = 60;

/** Seconds until the next call; null: there is to be none. `lot` is drawn from 0 to 1. */
export function waitBefore(error: unknown, nMade: number, lot: number): number | null {
  if (!(error instanceof ServiceError) || !error.mayRetry || nMade >= ATTEMPTS) return null;
  const backoff = (Math.min(MOST_WAIT_S, FIRST_WAIT_S * 2 ** (nMade - 1)) * (1 + lot)) / 2;
  return Math.max(backoff, Math.min(LONGEST_ASKED_S, error.retryAfterS) * (1 + lot / 4));
}

/** Make a call until it is answered, or refused for good, or given up by `signal`. */
export async function patiently<T>(call: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let nMade = 1; ; nMade++) {
    try {
      return await call();
    } catch (error) {
      const waitS = signal.aborted ? null : waitBefore(error, nMade, Math.random());
      if (waitS === null) throw error;
      await pause(waitS * 1000, signal);
    }
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    const give = () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    };
    if (signal.aborted) give();
    signal.addEventListener("abort", give, { once: true });
  });
}
