import { expect, test } from "vitest";
import { bestOf, fitOf } from "../../src/planning/fit";
import { cardOf, studyOf } from "./tables";

test("the share of genes does not depend on what is left to choose", () => {
  const card = cardOf({ batch: { key: "lane", categories: ["a", "b"] } });
  const fit = fitOf(studyOf(), card);
  expect(fit.share).toBe(0.75);
  expect(fit.nOpen).toBeGreaterThan(0);
  expect(fitOf(studyOf(), cardOf({ genes: ["X1", "X2"] })).share).toBe(0);
});

test("genes come before what is asked, and of equal shares the one that asks least", () => {
  const fits = [
    { name: "strange", share: 0, nOpen: 0 },
    { name: "asks", share: 0.99, nOpen: 3 },
    { name: "suits", share: 0.98, nOpen: 1 },
  ];
  expect(bestOf(fits)?.name).toBe("suits");
  expect(bestOf(fits.slice(0, 2))?.name).toBe("asks");
  expect(bestOf([])).toBeUndefined();
});
