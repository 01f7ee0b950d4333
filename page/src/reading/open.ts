/** What was dropped: told by what is in it first, by its name second. */

import { Gunzip } from "fflate";
import { InputError, type Study } from "./contract";
import { partOf, studyOfArchive, studyOfParts } from "./market";
import { studyOfSheet } from "./sheet";
import { isGzip } from "./unpack";

const HDF5 = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a];
const START_BYTES = 1 << 16;
const READ = ".h5ad, .h5mu, 10x .h5, a matrix-market trio (.zip, .tar.gz or its three files), .csv";

/** Open one file, or the files of one data set. Importing what reads HDF5 waits until a file needs it. */
export async function openFiles(files: File[]): Promise<Study> {
  if (files.length === 0) {
    throw new InputError(`nothing was dropped; drop a file: ${READ}.`);
  }
  if (files.length > 1) {
    if (files.some((file) => partOf(file.name) !== null)) {
      return studyOfParts(files);
    }
    throw new InputError(
      `these are ${files.length} files that are not the three of a matrix-market data set; drop one file at a time.`,
    );
  }
  return openFile(files[0]);
}

async function openFile(file: File): Promise<Study> {
  if (file.size === 0) {
    throw new InputError(`${file.name} is empty; was its download cut short? Get a new copy.`);
  }
  const start = await bytesAt(file, 0);
  if (await isHdf5(file)) {
    return openHdf5(file);
  }
  if (start[0] === 0x50 && start[1] === 0x4b) {
    return studyOfArchive(file, "zip");
  }
  const content = isGzip(start) ? unpackedStart(start) : start;
  if (begins(content, HDF5)) {
    throw new InputError(
      `${file.name} is an HDF5 file compressed by gzip; unpack it (gunzip) and drop what comes out.`,
    );
  }
  if (textOf(content.subarray(257, 262)) === "ustar") {
    return studyOfArchive(file, "tar");
  }
  checkText(file, content, isGzip(start));
  return studyOfSheet(file);
}

async function openHdf5(file: File): Promise<Study> {
  const [{ openH5 }, { studyOfH5 }] = await Promise.all([import("./h5"), import("./study_of_h5")]);
  const opened = await openH5(file);
  try {
    return studyOfH5(opened);
  } catch (error) {
    opened.close();
    throw error;
  }
}

/** HDF5 begins at 0, or behind a block of a user's own of 512 bytes or a power of two times as many. */
async function isHdf5(file: File): Promise<boolean> {
  for (let at = 0; at < Math.min(file.size, 1 << 14); at = at === 0 ? 512 : 2 * at) {
    if (begins(await bytesAt(file, at), HDF5)) {
      return true;
    }
  }
  return false;
}

async function bytesAt(file: File, at: number): Promise<Uint8Array> {
  return new Uint8Array(await file.slice(at, at + START_BYTES).arrayBuffer());
}

function begins(bytes: Uint8Array, magic: number[]): boolean {
  return magic.every((byte, at) => bytes[at] === byte);
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function unpackedStart(start: Uint8Array): Uint8Array {
  const pieces: Uint8Array[] = [];
  try {
    new Gunzip((piece) => pieces.push(piece)).push(start);
  } catch {
    // What it is will not be known, and is told so by the reader that it goes to.
  }
  return pieces.find((piece) => piece.length > 0) ?? new Uint8Array(0);
}

/** Refuse what is no sheet. */
function checkText(file: File, content: Uint8Array, isPacked: boolean): void {
  const { name } = file;
  if (textOf(content.subarray(0, 14)) === "%%MatrixMarket" || partOf(name) !== null) {
    throw new InputError(
      `${name} is one of the three files of a matrix-market data set; drop matrix.mtx, barcodes.tsv and features.tsv together ` +
        "(each maybe .gz), or one .zip or .tar.gz with them.",
    );
  }
  if (
    /\.(rds|rda|rdata|h5seurat|qs)$/i.test(name) ||
    ["X\n", "RDX", "A\n"].some((magic) => textOf(content.subarray(0, 3)).startsWith(magic))
  ) {
    throw new InputError(
      `${name} is R's own format; write the counts from R as .h5ad (with zellkonverter or anndataR) or by ` +
        "DropletUtils::write10xCounts, and drop that.",
    );
  }
  if (/\.(h5ad|h5mu|h5|hdf5|loom)$/i.test(name)) {
    throw new InputError(
      `${name} is not an HDF5 file, whatever its name says, or its beginning is damaged; get a new copy and compare the sizes.`,
    );
  }
  const picture = pictureOf(content);
  if (picture !== "") {
    throw new InputError(`${name} is ${picture}, not a table of cells; what is read is ${READ}.`);
  }
  if (content.length === 0 || content.includes(0)) {
    const what = isPacked ? "is compressed by gzip and holds" : "is";
    throw new InputError(`${name} ${what} nothing that is known here; what is read is ${READ}.`);
  }
  const [first] = textOf(content).split("\n", 1);
  if (!/[,;\t]/.test(first) || /^\s*[<{[]/.test(first)) {
    throw new InputError(
      `${name} is text, but no table: its first line has no commas or tabs; what is read is ${READ}.`,
    );
  }
}

function pictureOf(bytes: Uint8Array): string {
  if (
    begins(bytes, [0x89, 0x50, 0x4e, 0x47]) ||
    begins(bytes, [0xff, 0xd8, 0xff]) ||
    textOf(bytes.subarray(0, 4)) === "GIF8"
  ) {
    return "a picture";
  }
  return textOf(bytes.subarray(0, 4)) === "%PDF" ? "a PDF" : "";
}
