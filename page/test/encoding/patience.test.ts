import { expect, test } from "vitest";
import { patiently, waitBefore } from "../../src/encoding/patience";
import { ServiceError } from "../../src/service/problem";

const busy = (retryAfterS: number) => new ServiceError({ code: "overloaded", detail: "full" }, true, retryAfterS);
const wrong = new ServiceError({ code: "invalid", detail: "no counts" }, false, 0);

test("waits double up to ten seconds, a half of each by lot, and never less than what the service asks for", () => {
  expect([1, 2, 3].map((n) => waitBefore(busy(0), n, 1))).toEqual([0.25, 0.5, 1]);
  expect(waitBefore(busy(0), 1, 0)).toBe(0.125);
  expect(waitBefore(busy(0), 7, 1)).toBe(10);
  expect(waitBefore(busy(3), 1, 0)).toBe(3);
  expect(waitBefore(busy(86_400), 1, 0)).toBe(60);
  expect(waitBefore(busy(0), 8, 1)).toBeNull();
});

test("what cannot get better is not asked again", () => {
  expect(waitBefore(wrong, 1, 0)).toBeNull();
  expect(waitBefore(new TypeError("ours"), 1, 0)).toBeNull();
});

test("a refused call is made again, and its answer is the first one's", async () => {
  let made = 0;
  const call = async () => {
    made += 1;
    if (made < 2) throw busy(0);
    return made;
  };
  expect(await patiently(call, new AbortController().signal)).toBe(2);
});

test("giving up ends the wait at once", async () => {
  const giveUp = new AbortController();
  const asked = patiently(async () => {
    setTimeout(() => giveUp.abort());
    throw busy(3600);
  }, giveUp.signal);
  await expect(asked).rejects.toThrow("stopped");
});
