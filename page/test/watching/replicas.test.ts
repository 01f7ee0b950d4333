import { expect, test } from "vitest";
import { replicasOf } from "../../src/watching/replicas";

test.each([
  [[], 1],
  [["a", "a"], 1],
  [["a", "a", "b", "b"], 1],
  [["a", "b", "a"], 2],
  [["a", "b", "c", "a", "b"], 3],
  [["a", "a", "b", "c", "b"], 3],
])("%j: %i", (instances, n) => {
  expect(replicasOf(instances)).toBe(n);
});
