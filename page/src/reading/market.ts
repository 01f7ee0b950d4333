/** The three files of Cell Ranger's folder (matrix, barcodes, features), plain or gzipped, alone or in one archive. */

import { InputError, type Study } from "./contract";
import { MarketReader } from "./market_matrix";
import { MemoryTable, type Told } from "./memory_table";
import { gunzipped, pour, type Sink, textSink, Unpacked, untarred, unzipped } from "./unpack";

const PARTS = {
  matrix: /matrix\.mtx(\.gz)?$/i,
  barcodes: /barcodes\.tsv(\.gz)?$/i,
  features: /(features|genes)\.tsv(\.gz)?$/i,
};
type Part = keyof typeof PARTS;

/** Which of the three files a name is of; null: of none. */
export function partOf(path: string): Part | null {
  // A Mac adds files of its own to archives.
  if (path.split("/").some((name) => name.startsWith("._") || name === "__MACOSX")) {
    return null;
  }
  return (Object.keys(PARTS) as Part[]).find((part) => PARTS[part].test(path)) ?? null;
}

/** The study of three files that were dropped together. */
export async function studyOfParts(files: File[]): Promise<Study> {
  const trio = new Trio(files[0].name, new Unpacked(files.reduce((sum, file) => sum + file.size, 0)));
  for (const file of files) {
    const sink = trio.sinkOf(file.name);
    if (sink !== null) {
      await pour(file, sink);
    }
  }
  return trio.study();
}

/** The study of a zip or (gzipped) tar archive. */
export async function studyOfArchive(file: File, kind: "zip" | "tar"): Promise<Study> {
  const unpacked = new Unpacked(file.size);
  const trio = new Trio(file.name, unpacked);
  const onEntry = (entry: string) => trio.sinkOf(entry);
  const archive = kind === "zip" ? unzipped(file.name, onEntry, unpacked) : untarred(file.name, onEntry);
  await pour(file, kind === "zip" ? archive : gunzipped(file.name, archive, unpacked));
  return trio.study();
}

class Trio {
  private readonly paths = new Map<Part, string>();
  private readonly texts = new Map<Part, string>();
  private reader: MarketReader | null = null;
  private readonly others: string[] = [];

  constructor(
    private readonly title: string,
    private readonly unpacked: Unpacked,
  ) {}

  sinkOf(path: string): Sink | null {
    const part = partOf(path);
    if (part === null) {
      this.others.push(path);
      return null;
    }
    const known = this.paths.get(part);
    if (known !== undefined) {
      const both = `${known} and ${path}`;
      throw new InputError(
        known.replace(/\.gz$/i, "") === path.replace(/\.gz$/i, "")
          ? `there is one file twice, plain and gzipped (${both}); leave one of them out.`
          : `these are files of several samples (${both}), such as the raw and the filtered matrix; drop one sample at a time.`,
      );
    }
    this.paths.set(part, path);
    if (part === "matrix") {
      this.reader = new MarketReader(path);
      return gunzipped(path, this.reader, this.unpacked);
    }
    return gunzipped(
      path,
      textSink(path, (text) => this.texts.set(part, text)),
      this.unpacked,
    );
  }

  study(): Study {
    this.checkThree();
    const columns = tsvColumns(this.texts.get("features") ?? "");
    const [barcodes] = tsvColumns(this.texts.get("barcodes") ?? "");
    const matrix = this.reader?.matrix;
    if (columns.length === 0 || barcodes === undefined || matrix === null || matrix === undefined) {
      throw new InputError(`${this.title} has an empty list of features or barcodes, or is cut short; get a new copy.`);
    }
    const ids = columns[0];
    const told: Told[] = [
      { name: "gene_symbols", texts: columns[1] ?? ids },
      { name: "gene_ids", texts: ids },
      { name: "feature_types", texts: columns[2] ?? ids.map(() => "Gene Expression") },
    ];
    const table = new MemoryTable({
      title: this.title,
      matrix,
      varNames: told[0].texts,
      var: told,
      cellIds: barcodes,
      obs: [],
      chooseNames: true,
    });
    return {
      fileName: this.title,
      format: "matrix market",
      genes: table,
      proteins: null,
      turned: null,
      close: () => {},
    };
  }

  private checkThree(): void {
    const names = { matrix: "matrix.mtx", barcodes: "barcodes.tsv", features: "features.tsv (or genes.tsv)" };
    const missing = (Object.keys(names) as Part[]).filter((part) => !this.paths.has(part)).map((part) => names[part]);
    if (missing.length === 0) {
      return;
    }
    const there = [...this.paths.values(), ...this.others].slice(0, 5).join(", ") || "nothing";
    throw new InputError(
      `a matrix-market data set is matrix.mtx, barcodes.tsv and features.tsv (each maybe .gz), and here is no ` +
        `${missing.join(" and no ")} (there is: ${there}); drop all three together, or one .zip or .tar.gz with them.`,
    );
  }
}

function tsvColumns(text: string): string[][] {
  const rows = text
    .split(/\r?\n/)
    .filter((line) => line !== "")
    .map((line) => line.split("\t"));
  const width = rows.reduce(
    (least, row) => Math.min(least, row.length),
    rows.length === 0 ? 0 : Number.POSITIVE_INFINITY,
  );
  return Array.from({ length: width }, (_, column) => rows.map((row) => row[column]));
}
