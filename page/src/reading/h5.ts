/** HDF5 through h5wasm: the only file that knows it. Import it dynamically, as it is large. */

import { Dataset, FS, Group, File as Hdf5, Reference, ready } from "h5wasm";
import { InputError } from "./contract";
import { FileBytes, readerOf } from "./file_bytes";
import { inPython } from "./in_python";
import { type Disk, mountFile } from "./mounted_file";

type NumberArray =
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array;

/** What a dataset holds; `other`: nothing that is read here. */
export type ValueKind = "integer" | "float" | "boolean" | "text" | "reference" | "other";

export interface Shape {
  kind: ValueKind;
  shape: number[];
  /** Rows of one stored piece; null: it is not cut into pieces. */
  chunkRows: number | null;
}

/** Filters that the HDF5 of this page has: deflate, shuffle, fletcher32, nbit, scale-offset. */
const FILTERS = new Set([1, 2, 3, 5, 6]);
const FILTER_NAMES: Record<number, string> = {
  4: "szip",
  32000: "lzf",
  32001: "blosc",
  32004: "lz4",
  32008: "bitshuffle",
  32015: "zstd",
  32026: "blosc2",
};

/** HDF5's numbers of its classes of types. */
const INTEGER = 0;
const FLOAT = 1;
const STRING = 3;
const REFERENCE = 7;
const ENUM = 8;

let nOpened = 0;

/** Open a file without loading it. */
export async function openH5(file: File): Promise<H5File> {
  const module = await ready;
  // Without it a read that fails gives whatever was in memory before.
  module.activate_throwing_error_handler();
  const disk = FS as unknown as Disk;
  nOpened += 1;
  const folder = `/study-${nOpened}`;
  const bytes = new FileBytes(file.size, await readerOf(file));
  mountFile(disk, folder, bytes);
  const forget = () => {
    disk.unmount(folder);
    disk.rmdir(folder);
  };
  try {
    return new H5File(file.name, new Hdf5(`${folder}/file`, "r"), bytes, forget);
  } catch (error) {
    forget();
    throw damaged(file.name, error, bytes);
  }
}

/** An open file; its parts are named by their path, without a slash before it. */
export class H5File {
  private readonly shapes = new Map<string, Shape>();
  private readonly datasets = new Map<string, Dataset>();

  constructor(
    readonly name: string,
    private readonly file: Hdf5,
    private readonly bytes: FileBytes,
    private readonly forget: () => void,
  ) {}

  close(): void {
    this.file.close();
    this.forget();
  }

  isGroup(path: string): boolean {
    return this.reading(() => this.file.get(path)) instanceof Group;
  }

  isDataset(path: string): boolean {
    return this.reading(() => this.file.get(path)) instanceof Dataset;
  }

  /** Names in a group; none where there is no such group. */
  keys(path: string): string[] {
    const group = path === "" ? this.file : this.reading(() => this.file.get(path));
    return group instanceof Group ? this.reading(() => group.keys()) : [];
  }

  /** An attribute of text; empty where there is none. */
  textAttribute(path: string, name: string): string {
    const value = this.attribute(path, name);
    return typeof value === "string" ? value : "";
  }

  /** An attribute of several texts; null where there is none. */
  textsAttribute(path: string, name: string): string[] | null {
    const value = this.attribute(path, name);
    if (value === null) {
      return null;
    }
    return typeof value === "string" ? [value] : Array.from(value as ArrayLike<unknown>, String);
  }

  /** An attribute of several numbers; null where there is none. */
  numbersAttribute(path: string, name: string): number[] | null {
    const value = this.attribute(path, name);
    return value === null ? null : Array.from(value as ArrayLike<number | bigint>, Number);
  }

  /** The path that an attribute refers to; null where there is none. */
  referredPath(path: string, name: string): string | null {
    const value = this.attribute(path, name);
    if (!(value instanceof Reference)) {
      return null;
    }
    const target: unknown = this.reading(() => this.file.dereference(value));
    return target instanceof Dataset ? target.path.replace(/^\/+/, "") : null;
  }

  private attribute(path: string, name: string): unknown {
    return this.reading(() => {
      const holder = path === "" ? this.file : this.file.get(path);
      const attribute = holder !== null && "attrs" in holder ? holder.attrs[name] : undefined;
      return attribute === undefined ? null : attribute.value;
    });
  }

  shape(path: string): Shape {
    let known = this.shapes.get(path);
    if (known === undefined) {
      const { type, size, shape, chunks, enum_type: names } = this.dataset(path).metadata;
      const kinds: Record<number, ValueKind> = {
        [INTEGER]: "integer",
        [FLOAT]: "float",
        [STRING]: "text",
        [REFERENCE]: "reference",
      };
      const isTruth = type === ENUM && names !== undefined && "TRUE" in names.members && "FALSE" in names.members;
      // Floats of 16 bits, and of more than 64, are read nowhere in a browser.
      const isRead = type !== FLOAT || size === 4 || size === 8;
      const kind = isTruth ? "boolean" : isRead ? (kinds[type] ?? "other") : "other";
      known = { kind, shape: shape ?? [], chunkRows: chunks?.[0] ?? null };
      this.shapes.set(path, known);
    }
    return known;
  }

  /** The numbers (of truths: 0 and 1) of rows `from` to `to`, row by row; 64-bit integers in the type that holds them. */
  numbers(path: string, from = 0, to = Number.POSITIVE_INFINITY): NumberArray {
    const { kind, shape } = this.shape(path);
    if (kind !== "integer" && kind !== "float" && kind !== "boolean") {
      throw new InputError(
        `${path} in ${this.name} is not numbers that can be read here (whole ones, or floats of 32 or 64 bits)${this.converted(path)}.`,
      );
    }
    const stop = Math.min(to, shape[0] ?? 1);
    if (stop <= from && shape.length > 0) {
      return new Float32Array(0);
    }
    const value = this.values(path, from, stop);
    if (value instanceof BigInt64Array || value instanceof BigUint64Array) {
      return narrowed(value);
    }
    return (
      typeof value === "number" || typeof value === "bigint" ? Float64Array.of(Number(value)) : value
    ) as NumberArray;
  }

  /** How to make numbers of a part readable. */
  private converted(path: string): string {
    const part = inPython(path, this.isGroup("mod") ? "mdata" : "adata");
    return part === null ? "" : `; convert it, ${part} = ${part}.astype("float32"), and write the file anew`;
  }

  /** All texts of a dataset. */
  texts(path: string): string[] {
    if (this.shape(path).kind !== "text") {
      throw new InputError(
        `${path} in ${this.name} should be text and is not; write the file anew with a current anndata.`,
      );
    }
    if (this.shape(path).shape[0] === 0) {
      return [];
    }
    const value = this.values(path, 0, this.shape(path).shape[0] ?? 1);
    return typeof value === "string" ? [value] : (value as string[]);
  }

  private values(path: string, from: number, to: number): unknown {
    const dataset = this.dataset(path);
    return this.reading(() => (this.shape(path).shape.length === 0 ? dataset.value : dataset.slice([[from, to]])));
  }

  private dataset(path: string): Dataset {
    let dataset = this.datasets.get(path);
    if (dataset === undefined) {
      const found = this.reading(() => this.file.get(path));
      if (!(found instanceof Dataset)) {
        throw new InputError(`${this.name} is damaged: it has no ${path}; get a new copy.`);
      }
      this.checkFilters(this.reading(() => found.filters));
      this.datasets.set(path, found);
      dataset = found;
    }
    return dataset;
  }

  private checkFilters(filters: { id: number; name: string }[]): void {
    const unknown = filters.find((filter) => !FILTERS.has(filter.id));
    if (unknown !== undefined) {
      const name = FILTER_NAMES[unknown.id] ?? (unknown.name || `filter ${unknown.id}`);
      throw new InputError(
        `${this.name} is compressed by ${name}, which cannot be read in a browser; save it again with gzip: ` +
          'adata.write_h5ad("new.h5ad", compression="gzip").',
      );
    }
  }

  private reading<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw error instanceof InputError ? error : damaged(this.name, error, this.bytes);
    }
  }
}

/** Integers of 64 bits in 32, or as floats where they do not fit; without an object for each. */
function narrowed(values: BigInt64Array | BigUint64Array): Int32Array | Float64Array {
  const words = new Int32Array(values.buffer, values.byteOffset, 2 * values.length);
  const narrow = new Int32Array(values.length);
  for (let at = 0; at < narrow.length; at++) {
    const low = words[2 * at];
    if (words[2 * at + 1] !== low >> 31) {
      return Float64Array.from(values as BigInt64Array, Number);
    }
    narrow[at] = low;
  }
  return narrow;
}

function damaged(name: string, error: unknown, bytes: FileBytes): InputError {
  if (bytes.failure !== null) {
    return new InputError(
      `${name} cannot be read any more: it was changed, moved or removed since it was dropped here; drop it again.`,
    );
  }
  const text = error instanceof Error ? error.message : String(error);
  // HDF5 tells its whole stack, from the call down to the cause.
  const cause = text.match(/truncated file|[^\n]*signature not found/)?.[0] ?? text.match(/(?<=\): )[^\n]+/)?.[0];
  return new InputError(
    `${name} is damaged or cut short (${(cause ?? "HDF5 cannot make sense of it").trim().slice(0, 120)}); get a new copy and compare the sizes.`,
  );
}
