/** The latents as NumPy's `.npz`: `numpy.load(path)` gives `z`, `qz_mean`, `qz_variance`, `library` and `cells`. */

import { zipSync } from "fflate";
import type { Latents } from "../encoding/latents";

export function npzOf(latents: Latents, cellIds: readonly string[]): Blob {
  const matrix = [latents.nCells, latents.nLatent];
  const files = {
    "z.npy": npy("<f4", matrix, latents.z),
    "qz_mean.npy": npy("<f4", matrix, latents.mean),
    "qz_variance.npy": npy("<f4", matrix, latents.variance),
    "library.npy": npy("<f4", [latents.nCells], latents.library),
    "cells.npy": texts(cellIds),
  };
  // Stored, as `numpy.savez` does: random digits hardly shrink.
  return new Blob([zipSync(files, { level: 0 }) as Uint8Array<ArrayBuffer>], { type: "application/zip" });
}

/** An array in NumPy's format 1.0: numpy/lib/format.py says how. */
export function npy(descr: string, shape: readonly number[], values: ArrayBufferView): Uint8Array {
  const dimensions = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${dimensions}), }`;
  const before = 10;
  // The header ends with a newline, and the data begin at a multiple of 64.
  const header = `${text.padEnd(Math.ceil((before + text.length + 1) / 64) * 64 - before - 1)}\n`;
  const file = new Uint8Array(before + header.length + values.byteLength);
  file.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 0xff, header.length >> 8]);
  file.set(new TextEncoder().encode(header), before);
  file.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), before + header.length);
  return file;
}

/** Texts as `<U…`: four bytes a character, all of the longest's length. */
function texts(values: readonly string[]): Uint8Array {
  const characters = values.map((value) => Array.from(value, (one) => one.codePointAt(0)!));
  const longest = characters.reduce((most, one) => Math.max(most, one.length), 1);
  const codes = new Uint32Array(values.length * longest);
  for (const [row, one] of characters.entries()) codes.set(one, row * longest);
  return npy(`<U${longest}`, [values.length], codes);
}
