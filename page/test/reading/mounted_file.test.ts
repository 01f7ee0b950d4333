import { afterEach, expect, test, vi } from "vitest";
import { openFiles } from "../../src/reading/open";
import { bytesOf, dense, expected, fileOf } from "./files";

const looks: number[] = [];
let isThere = true;

/** A worker's reader of files, which here takes the bytes that `slice` gives. */
class Reader {
  readAsArrayBuffer(part: { bytes: Uint8Array<ArrayBuffer> }): ArrayBuffer {
    if (!isThere) {
      throw new DOMException("the file has changed", "NotReadableError");
    }
    looks.push(part.bytes.length);
    return part.bytes.slice().buffer;
  }
}

/** A file whose parts can be read at once. */
function synchronous(content: Uint8Array<ArrayBuffer>): File {
  const slice = (from: number, to: number) => {
    const bytes = content.slice(from, to);
    return { bytes, arrayBuffer: async () => bytes.buffer };
  };
  return { name: "cells.h5ad", size: content.length, slice } as unknown as File;
}

afterEach(() => {
  vi.unstubAllGlobals();
  looks.length = 0;
  isThere = true;
});

test("in a worker a file is looked into a few times, for all that is in it", async () => {
  vi.stubGlobal("FileReaderSync", Reader);
  const content = bytesOf("cells.h5ad");
  const { genes } = await openFiles([synchronous(content)]);
  expect(dense(genes.matrix("X"))).toEqual(expected["cells.h5ad"].layers.X);
  expect(looks).toEqual([content.length]);
});

test("HDF5 that begins behind a block of a user's own is found", async () => {
  vi.stubGlobal("FileReaderSync", Reader);
  const content = bytesOf("cells.h5ad");
  const shifted = new Uint8Array(content.length + (1 << 14));
  shifted.set(content, 8192);
  const { genes } = await openFiles([synchronous(shifted)]);
  expect(dense(genes.matrix("columns"))).toEqual(expected["cells.h5ad"].layers.columns);
});

test("a file that goes away is told, and others are read on", async () => {
  vi.stubGlobal("FileReaderSync", Reader);
  isThere = false;
  await expect(openFiles([synchronous(bytesOf("cells.h5ad"))])).rejects.toThrow(
    /moved or removed since it was dropped here; drop it again/,
  );
  vi.unstubAllGlobals();
  const { genes } = await openFiles([fileOf("cells.h5ad")]);
  expect(dense(genes.matrix("X"))).toEqual(expected["cells.h5ad"].layers.X);
});
