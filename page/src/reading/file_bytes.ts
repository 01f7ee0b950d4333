/** The bytes of a file, read in large blocks: HDF5 asks for a few kilobytes at a time, and each look into a file takes a browser long. */

const BLOCK_BYTES = 8 << 20;
const MOST_BLOCKS = 6;

/** Reads bytes of a file at once, without a promise. */
export type ReadBytes = (from: number, to: number) => Uint8Array;

/** Where the file is looked into: in a worker the file itself, elsewhere (in tests) a copy in memory. */
export async function readerOf(file: File): Promise<ReadBytes> {
  if (typeof FileReaderSync === "undefined") {
    const all = new Uint8Array(await file.arrayBuffer());
    return (from, to) => all.subarray(from, to);
  }
  const reader = new FileReaderSync();
  return (from, to) => new Uint8Array(reader.readAsArrayBuffer(file.slice(from, to)));
}

/** The last blocks of a file that were read. */
export class FileBytes {
  /** By number of the block; the one that was used longest ago is the first. */
  private readonly blocks = new Map<number, Uint8Array>();
  /** Why the file could not be looked into any more; null: it could. */
  failure: unknown = null;

  constructor(
    readonly size: number,
    private readonly read: ReadBytes,
  ) {}

  /** Copy bytes from `position` on into `target`; how many there were. */
  copy(target: Uint8Array, position: number): number {
    const end = Math.min(position + target.length, this.size);
    for (let at = position; at < end; ) {
      const number = Math.floor(at / BLOCK_BYTES);
      const part = this.block(number).subarray(at - number * BLOCK_BYTES, end - number * BLOCK_BYTES);
      target.set(part, at - position);
      at += part.length;
    }
    return Math.max(end - position, 0);
  }

  private block(number: number): Uint8Array {
    let block = this.blocks.get(number);
    if (block === undefined) {
      try {
        block = this.read(number * BLOCK_BYTES, Math.min((number + 1) * BLOCK_BYTES, this.size));
      } catch (error) {
        this.failure = error;
        throw error;
      }
      if (this.blocks.size === MOST_BLOCKS) {
        this.blocks.delete(this.blocks.keys().next().value as number);
      }
    } else {
      this.blocks.delete(number);
    }
    this.blocks.set(number, block);
    return block;
  }
}
