/** A file on the disk that h5wasm sees, without loading it: a file system of one file. */

import type { FileBytes } from "./file_bytes";

/** What is used of Emscripten's file system. */
export interface Disk {
  mkdir(path: string): void;
  rmdir(path: string): void;
  mount(type: unknown, options: unknown, path: string): void;
  unmount(path: string): void;
  createNode(parent: DiskNode | null, name: string, mode: number): DiskNode;
  ErrnoError: new (number: number) => Error;
}

interface DiskNode {
  id: number;
  mode: number;
  node_ops: unknown;
  stream_ops: unknown;
}

interface Stream {
  position: number;
}

const FOLDER = 0o40555;
const FILE = 0o100444;
/** Emscripten's numbers of errors. */
const INVALID = 28;
const INPUT_OUTPUT = 29;
const NO_SUCH_FILE = 44;

/** Mount a file as `file` in a folder of its own. */
export function mountFile(disk: Disk, folder: string, bytes: FileBytes): void {
  const attributes = (node: DiskNode) => {
    const time = new Date(0);
    const size = node.mode === FILE ? bytes.size : 4096;
    const owner = { dev: 1, ino: node.id, mode: node.mode, nlink: 1, uid: 0, gid: 0, rdev: 0 };
    return { ...owner, size, atime: time, mtime: time, ctime: time, blksize: 4096, blocks: Math.ceil(size / 4096) };
  };
  const nodeOps = {
    getattr: attributes,
    lookup() {
      throw new disk.ErrnoError(NO_SUCH_FILE);
    },
    readdir: () => [".", "..", "file"],
  };
  const streamOps = {
    llseek(stream: Stream, offset: number, whence: number): number {
      const position = offset + [0, stream.position, bytes.size][whence];
      if (position < 0) {
        throw new disk.ErrnoError(INVALID);
      }
      return position;
    },
    read(_stream: Stream, heap: Uint8Array, offset: number, length: number, position: number): number {
      const target = new Uint8Array(heap.buffer, heap.byteOffset + offset, length);
      try {
        return bytes.copy(target, position);
      } catch {
        // HDF5 then fails in its own way and can be used further; `bytes.failure` says why.
        throw new disk.ErrnoError(INPUT_OUTPUT);
      }
    },
  };
  const mount = () => {
    const root = disk.createNode(null, "/", FOLDER);
    const file = disk.createNode(root, "file", FILE);
    for (const node of [root, file]) {
      node.node_ops = nodeOps;
      node.stream_ops = streamOps;
    }
    return root;
  };
  disk.mkdir(folder);
  disk.mount({ mount }, {}, folder);
}
