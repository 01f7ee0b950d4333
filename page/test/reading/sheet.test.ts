import { gzipSync } from "fflate";
import { expect, test } from "vitest";
import { openFiles } from "../../src/reading/open";
import { dense, labels, textFile } from "./files";

const SHEET = 'cell,"CD3E",MS4A1,batch,LYZ\nAAA-1,1,0,b1,3\nCCC-1,0,2.5,b2,0\n';

test("a sheet is read both ways round, its columns of text beside the counts", async () => {
  const study = await openFiles([textFile("cells.csv", SHEET)]);
  const { genes, turned } = study;
  expect([study.format, genes.cellIds(), genes.varNames("X")]).toEqual([
    "csv",
    ["AAA-1", "CCC-1"],
    ["CD3E", "MS4A1", "LYZ"],
  ]);
  expect(dense(genes.matrix("X"))).toEqual([
    [1, 0, 3],
    [0, 2.5, 0],
  ]);
  expect(labels(genes.obsColumn("batch"))).toEqual(["b1", "b2"]);
  expect([turned?.cellIds(), turned?.varNames("X")]).toEqual([
    ["CD3E", "MS4A1", "LYZ"],
    ["AAA-1", "CCC-1"],
  ]);
  expect(turned && dense(turned.matrix("X"))).toEqual([
    [1, 0],
    [0, 2.5],
    [3, 0],
  ]);
  expect(turned?.varColumn("X", "batch")).toEqual(["b1", "b2"]);
});

test.each([
  ["tabs", "\tA\tB\nc1\t1\t2\nc2\t3\t4\n"],
  ["semicolons", ";A;B\r\nc1;1;2\r\nc2;3;4"],
  ["R's header", "A,B\nc1,1,2\nc2,3,4\n"],
])("with %s", async (_, text) => {
  const { genes } = await openFiles([textFile("cells.csv", text)]);
  expect([genes.cellIds(), genes.varNames("X"), dense(genes.matrix("X"))]).toEqual([
    ["c1", "c2"],
    ["A", "B"],
    [
      [1, 2],
      [3, 4],
    ],
  ]);
});

test("gzipped, and without names of its lines", async () => {
  const packed = gzipSync(new TextEncoder().encode("A,B\n1,2\n3,NA\n")) as Uint8Array<ArrayBuffer>;
  const { genes } = await openFiles([new File([packed], "cells.csv.gz")]);
  expect(genes.cellIds()).toEqual(["1", "2"]);
  expect(dense(genes.matrix("X"))).toEqual([
    [1, 2],
    [3, Number.NaN],
  ]);
});

test("gzipped in several members, as bgzip writes", async () => {
  const members = ["A,B\n", "1,2\n", "3,4\n"].map(
    (text) => gzipSync(new TextEncoder().encode(text)) as Uint8Array<ArrayBuffer>,
  );
  const { genes } = await openFiles([new File(members, "cells.csv.gz")]);
  expect(dense(genes.matrix("X"))).toEqual([
    [1, 2],
    [3, 4],
  ]);
});

test("larger than what is read at once", async () => {
  const lines = Array.from(
    { length: 30_000 },
    (_, line) => `c${line},${Array.from({ length: 60 }, (_, at) => (line * at) % 97).join(",")}`,
  );
  const { genes } = await openFiles([
    textFile(
      "big.csv",
      `id,${lines[1]
        .split(",")
        .slice(1)
        .map((_, at) => `G${at}`)}\n${lines.join("\n")}\n`,
    ),
  ]);
  const [row] = dense({
    ...genes.matrix("X"),
    nCells: 1,
    nColumns: 60,
    rows: () => genes.matrix("X").rows(29_999, 30_000),
  });
  expect(row).toEqual(Array.from({ length: 60 }, (_, at) => (29_999 * at) % 97));
});

test.each([
  ["ragged", "cell,A,B\nc1,1,2\nc2,3\n", /line 3 of cells.csv has 2 fields and the first lines 3/],
  ["text among the counts", "cell,A,B\nc1,1,2\nc2,3,many\n", /"many" in line 3, column B/],
  ["text only", "cell,A,B\nc1,x,y\n", /does not look like a table of counts/],
  ["a header only", "cell,A,B\n", /no line of counts/],
])("%s is refused", async (_, text, message) => {
  await expect(openFiles([textFile("cells.csv", text)])).rejects.toThrow(message);
});
