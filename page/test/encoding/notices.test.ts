import { expect, test } from "vitest";
import { Notices } from "../../src/encoding/notices";

const warning = (code: string, detail: string, count: number) => ({ code, detail, count: BigInt(count), examples: [] });

test("what is said of columns is said once, and fractions are summed by what they are of", () => {
  const notices = new Notices();
  for (const n of [2, 3]) {
    notices.take([
      warning("missing_genes", "5 genes are missing", 5),
      warning("non_integer_counts", `${n} entries of gene_counts are not whole numbers`, n),
      warning("non_integer_counts", "1 entries of protein_counts are not whole numbers", 1),
    ]);
  }
  expect(notices.all.map(({ detail, count }) => [detail, count])).toEqual([
    ["5 genes are missing", 5],
    ["5 entries of gene_counts are not whole numbers", 5],
    ["2 entries of protein_counts are not whole numbers", 2],
  ]);
});
