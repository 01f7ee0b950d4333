import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { gzipSync } from "node:zlib";
import { Zip, ZipDeflate } from "fflate";
import { expect, test } from "vitest";
import { openFiles } from "../../src/reading/open";
import { gunzipped, type Sink, textSink, Unpacked, unzipped } from "../../src/reading/unpack";
import { fileOf, textFile } from "./files";

/** Remembers what it is given. */
function listener() {
  const pieces: Uint8Array[] = [];
  const sink: Sink = { push: (piece) => pieces.push(piece), end: () => {} };
  return { pieces, sink, all: () => Buffer.concat(pieces) };
}

/** Numbers that deflate makes a little smaller only. */
function numbers(n: number): Uint8Array {
  let seed = 1;
  return Uint8Array.from({ length: n }, () => {
    seed = (seed * 48271) % 2147483647;
    return 48 + (seed % 10);
  });
}

function zipOfPieces(entries: [string, Uint8Array][]): Uint8Array {
  const { sink, all } = listener();
  const zip = new Zip((_, piece) => sink.push(piece));
  for (const [name, content] of entries) {
    const entry = new ZipDeflate(name);
    zip.add(entry);
    entry.push(content, true);
  }
  zip.end();
  return all();
}

test("what unpacks to much comes in pieces of megabytes, of gzip and of zip", () => {
  const zeros = new Uint8Array(60 << 20);
  const [gzip, zip] = [listener(), listener()];
  gunzipped("zeros.gz", gzip.sink, new Unpacked(1)).push(gzipSync(zeros));
  unzipped("zeros.zip", () => zip.sink, new Unpacked(1)).push(zipOfPieces([["zeros", zeros]]));
  for (const { pieces } of [gzip, zip]) {
    expect(Math.max(...pieces.map((piece) => piece.length))).toBeLessThan(20 << 20);
  }
  expect(gzip.all().length).toBe(zeros.length);
});

test.each([1 << 22, 16385, 997])("bytes are as they were packed, pushed %i at a time", (step) => {
  const content = numbers(150_000);
  const pushed = (sink: Sink, packed: Uint8Array) => {
    for (let at = 0; at < packed.length; at += step) {
      sink.push(packed.subarray(at, at + step));
    }
    sink.end();
  };
  const members = listener();
  pushed(
    gunzipped("n.gz", members.sink, new Unpacked(1)),
    Buffer.concat([gzipSync(content), gzipSync(content.subarray(7))]),
  );
  expect(members.all().equals(Buffer.concat([content, content.subarray(7)]))).toBe(true);
  const found = new Map<string, ReturnType<typeof listener>>();
  const onEntry = (name: string) => {
    const entry = listener();
    found.set(name, entry);
    return entry.sink;
  };
  pushed(
    unzipped("n.zip", onEntry, new Unpacked(1)),
    zipOfPieces([
      ["a", content],
      ["b", content.subarray(9)],
    ]),
  );
  expect(found.get("a")?.all().equals(Buffer.from(content))).toBe(true);
  expect(
    found
      .get("b")
      ?.all()
      .equals(Buffer.from(content.subarray(9))),
  ).toBe(true);
});

test("what unpacks to hundreds of times its size is refused, packed once or twice, wanted or not", () => {
  const most = () => {
    const unpacked = new Unpacked(1000);
    unpacked.add("cells", 1e9);
    return unpacked;
  };
  const { sink } = listener();
  const packed = gzipSync("a,b\n");
  const zip = zipOfPieces([["other.txt", numbers(10)]]);
  expect(() => gunzipped("cells.csv.gz", sink, most()).push(packed)).toThrow(
    /cells.csv.gz unpacks to more than 1.0 GB/,
  );
  expect(() => unzipped("cells.zip", () => null, most()).push(zip)).toThrow(/cells.zip unpacks to more than 1.0 GB/);
  const large = new Unpacked(1e8);
  expect(() => large.add("cells", 19e9)).not.toThrow();
  expect(() => large.add("cells", 2e9)).toThrow(/20.0 GB/);
});

test("lists of names that no data set has are refused", () => {
  const sink = textSink("features.tsv", () => {});
  expect(() => sink.push(new Uint8Array(200_000_001))).toThrow(/features.tsv has more than 200 MB of names/);
});

test.each([
  ["a line without an end", `20 13 3\n1 2 1\n${" ".repeat(2 << 20)}`, /a line of it does not end/],
  ["more cells than fit", "20 100000000000 3\n1 2 1\n", /would take 800.0 GB of memory/],
])("a matrix of %s is refused", async (_, text, message) => {
  const matrix = textFile("matrix.mtx", `%%MatrixMarket matrix coordinate integer general\n${text}`);
  const opened = openFiles([fileOf("barcodes.tsv"), fileOf("features.tsv"), matrix]);
  await expect(opened).rejects.toThrow(message);
  await expect(opened).rejects.toMatchObject({ name: "InputError" });
});

test("a sheet of one endless line is refused", async () => {
  const sheet = textFile("cells.csv", `a,b\n1,2\n${"0,".repeat(9 << 20)}`);
  await expect(openFiles([sheet])).rejects.toThrow(/a line of more than 16 MB/);
});

function sheetText(): string {
  const header = Array.from({ length: 20_000 }, (_, at) => `,ENSG${at}`).join("");
  const row = ",0".repeat(20_000);
  return `cell${header}\n${Array.from({ length: 1000 }, (_, line) => `AAACCCAAGAAACACT-${line}${row}\n`).join("")}`;
}

test("a sheet keeps its counts and names in memory, not its text", async () => {
  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  const sheet = new File([gzipSync(sheetText()) as Uint8Array<ArrayBuffer>], "cells.csv.gz");
  // What made the sheet is let go of only after another turn.
  await new Promise(setImmediate);
  collect();
  const before = process.memoryUsage().heapUsed;
  const study = await openFiles([sheet]);
  collect();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(10 << 20);
  expect(study.genes.nCells).toBe(1000);
});
