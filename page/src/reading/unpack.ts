/** Streams of bytes through gzip, tar and zip: pushed on piece by piece, so that no file is in memory as a whole. */

import { Gunzip, Unzip, UnzipInflate } from "fflate";
import { InputError } from "./contract";

const PIECE_BYTES = 4 << 20;
/** Packed bytes that are unpacked at once: deflate makes at most 1032 times as many of them. */
const PACKED_BYTES = 1 << 14;
/** What may come out of any file, and out of a large one, in bytes and in times its own. */
const MOST_UNPACKED_BYTES = 1e9;
const MOST_TIMES = 200;
/** Lists of names, as far as a page can hold them. */
const MOST_TEXT_BYTES = 200_000_000;

/** Takes the bytes of one file. */
export interface Sink {
  push(piece: Uint8Array): void;
  end(): void;
}

/** Push a file into a sink. */
export async function pour(file: Blob, sink: Sink): Promise<void> {
  for (let at = 0; at < file.size; at += PIECE_BYTES) {
    sink.push(new Uint8Array(await file.slice(at, at + PIECE_BYTES).arrayBuffer()));
  }
  sink.end();
}

/** Counts what comes out of the dropped files, packed within each other or not: a few megabytes can hold terabytes of zeros. */
export class Unpacked {
  private bytes = 0;
  private readonly most: number;

  /** `packedBytes`: what the files take themselves. */
  constructor(packedBytes: number) {
    this.most = Math.max(MOST_UNPACKED_BYTES, MOST_TIMES * packedBytes);
  }

  add(name: string, bytes: number): void {
    this.bytes += bytes;
    if (this.bytes > this.most) {
      throw new InputError(
        `${name} unpacks to more than ${(this.most / 1e9).toFixed(1)} GB, hundreds of times what was dropped, as counts hardly ` +
          "do; is it the right file? If so, unpack it and drop what comes out.",
      );
    }
  }
}

/** Hand over a piece in parts that are small enough to be unpacked at once. */
function inParts(piece: Uint8Array, push: (part: Uint8Array) => void): void {
  for (let at = 0; at < piece.length; at += PACKED_BYTES) {
    push(piece.subarray(at, at + PACKED_BYTES));
  }
}

export function isGzip(start: Uint8Array): boolean {
  return start[0] === 0x1f && start[1] === 0x8b;
}

/** A sink of bytes that may be gzipped, by what they are: many a `.gz` was unpacked without losing its name. */
export function gunzipped(name: string, sink: Sink, unpacked: Unpacked): Sink {
  let isPacked: boolean | null = null;
  const gunzip = new Gunzip((piece) => {
    unpacked.add(name, piece.length);
    sink.push(piece);
  });
  const inWords = (push: () => void) => {
    try {
      push();
    } catch (error) {
      throw broken(name, error);
    }
  };
  return {
    push(piece) {
      if (piece.length === 0) {
        return;
      }
      isPacked ??= isGzip(piece);
      if (isPacked) {
        inWords(() => inParts(piece, (part) => gunzip.push(part)));
      } else {
        sink.push(piece);
      }
    },
    end() {
      if (isPacked) {
        inWords(() => gunzip.push(new Uint8Array(0), true));
      }
      sink.end();
    },
  };
}

/** A sink of a zip archive; `onEntry` gives the sink of an entry, or null to pass over it. */
export function unzipped(name: string, onEntry: (entry: string) => Sink | null, unpacked: Unpacked): Sink {
  const unzip = new Unzip((entry) => {
    const sink = entry.name.endsWith("/") ? null : onEntry(entry.name);
    // One that is passed over is unpacked too: what is not begun would be kept in memory.
    entry.ondata = (error, piece, isLast) => {
      if (error !== null) {
        throw broken(name, error);
      }
      unpacked.add(name, piece.length);
      sink?.push(piece);
      if (isLast) {
        sink?.end();
      }
    };
    entry.start();
  });
  unzip.register(UnzipInflate);
  const inWords = (piece: Uint8Array, isLast: boolean) => {
    try {
      unzip.push(piece, isLast);
    } catch (error) {
      throw broken(name, error);
    }
  };
  return {
    push: (piece) => inParts(piece, (part) => inWords(part, false)),
    end: () => inWords(new Uint8Array(0), true),
  };
}

const BLOCK = 512;

/** A sink of a tar archive. */
export function untarred(name: string, onEntry: (entry: string) => Sink | null): Sink {
  let rest = new Uint8Array(0);
  let sink: Sink | null = null;
  /** Bytes of the entry, and of its padding, that are still to come; -1: a header is next. */
  let left = -1;
  let padding = 0;
  let longName: string | null = null;

  const header = (block: Uint8Array): void => {
    if (block.every((byte) => byte === 0)) {
      return;
    }
    left = Number.parseInt(ascii(block, 124, 12).trim(), 8);
    if (Number.isNaN(left)) {
      throw new InputError(
        `${name} is no tar archive that can be read, or is damaged; unpack it and drop its three files.`,
      );
    }
    padding = (BLOCK - (left % BLOCK)) % BLOCK;
    const type = String.fromCharCode(block[156]);
    const folder = ascii(block, 257, 5) === "ustar" ? ascii(block, 345, 155) : "";
    const own = longName ?? (folder === "" ? "" : `${folder}/`) + ascii(block, 0, 100);
    if (type === "L" || type === "x") {
      // A name that is too long for the header comes as an entry before its own: GNU's, or POSIX's among other things.
      sink = textSink(own, (text) => {
        longName = type === "L" ? text.split("\0")[0] : (text.match(/^\d+ path=(.*)$/m)?.[1] ?? null);
      });
    } else {
      longName = null;
      sink = type === "0" || type === "\0" ? onEntry(own) : null;
    }
  };

  return {
    push(piece) {
      let bytes = piece;
      if (rest.length > 0) {
        bytes = new Uint8Array(rest.length + piece.length);
        bytes.set(rest);
        bytes.set(piece, rest.length);
      }
      let at = 0;
      while (true) {
        if (left < 0) {
          if (bytes.length - at < BLOCK) {
            break;
          }
          header(bytes.subarray(at, at + BLOCK));
          at += BLOCK;
        } else if (left > 0) {
          const part = bytes.subarray(at, at + left);
          if (part.length === 0) {
            break;
          }
          sink?.push(part);
          at += part.length;
          left -= part.length;
        } else {
          if (bytes.length - at < padding) {
            break;
          }
          at += padding;
          left = -1;
          sink?.end();
          sink = null;
        }
      }
      rest = bytes.slice(at);
    },
    end() {
      if (left > 0) {
        throw broken(name, new Error("it ends within a file"));
      }
    },
  };
}

function ascii(block: Uint8Array, from: number, length: number): string {
  let text = "";
  for (let at = from; at < from + length && block[at] !== 0; at++) {
    text += String.fromCharCode(block[at]);
  }
  return text;
}

/** All bytes of a sink as one text. */
export function textSink(name: string, done: (text: string) => void): Sink {
  const decoder = new TextDecoder();
  const pieces: string[] = [];
  let bytes = 0;
  return {
    push(piece) {
      bytes += piece.length;
      if (bytes > MOST_TEXT_BYTES) {
        throw new InputError(
          `${name} has more than ${MOST_TEXT_BYTES / 1e6} MB of names; is it the list of one data set, or damaged?`,
        );
      }
      pieces.push(decoder.decode(piece, { stream: true }));
    },
    end() {
      pieces.push(decoder.decode());
      done(pieces.join(""));
    },
  };
}

function broken(name: string, error: unknown): InputError {
  if (error instanceof InputError) {
    return error;
  }
  const why = error instanceof Error ? error.message : String(error);
  return new InputError(`${name} is damaged or cut short (${why}); copy or download it anew.`);
}
