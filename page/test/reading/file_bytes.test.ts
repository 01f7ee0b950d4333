import { expect, test } from "vitest";
import { FileBytes } from "../../src/reading/file_bytes";

const BLOCK = 8 << 20;

test("blocks are read once while they are among the last", () => {
  const read: number[] = [];
  const bytes = new FileBytes(10 * BLOCK - 5, (from, to) => {
    read.push(from / BLOCK);
    return new Uint8Array(to - from).fill(from / BLOCK + 1);
  });
  const at = (position: number, length = 4) => {
    const target = new Uint8Array(length);
    return [bytes.copy(target, position), ...target];
  };
  expect(at(BLOCK - 2)).toEqual([4, 1, 1, 2, 2]);
  expect(at(3)).toEqual([4, 1, 1, 1, 1]);
  expect(read).toEqual([0, 1]);
  expect(at(10 * BLOCK - 7)).toEqual([2, 10, 10, 0, 0]);
  expect(at(11 * BLOCK)[0]).toBe(0);
  for (const block of [2, 3, 4, 5]) {
    at(block * BLOCK);
  }
  // The first was used later than the second, which gave way.
  expect(read).toEqual([0, 1, 9, 2, 3, 4, 5]);
  at(0);
  at(BLOCK);
  expect(read.slice(7)).toEqual([1]);
});
