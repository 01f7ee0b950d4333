/** An h5ad file, or a modality of an h5mu one, as it lies on disk: nothing is read that is not asked for. */

import { InputError, type Matrix, type ObsColumn, type Table } from "./contract";
import type { H5File } from "./h5";
import { columnNames, columnTexts, isTextColumn, nRows, readColumn, rowNames } from "./stored_column";
import { StoredCsc, StoredCsr, StoredDense, StoredFrame } from "./stored_matrix";

const SPARSE: Record<string, "rows" | "columns"> = {
  csr_matrix: "rows",
  csr: "rows",
  csc_matrix: "columns",
  csc: "columns",
};

/** The group of an AnnData. */
export class H5adTable implements Table {
  readonly nCells: number;
  readonly chooseNames = false;
  readonly layers: readonly string[];
  readonly obsm: readonly string[];
  readonly obs: readonly string[];
  private readonly root: string;
  private readonly matrices = new Map<string, Matrix>();
  private readonly names = new Map<string, string[]>();

  constructor(
    private readonly file: H5File,
    group: string,
    readonly title: string,
    private readonly slot: { matrix: StoredCsc | null },
  ) {
    this.root = group === "" ? "" : `${group}/`;
    const there = file.keys(group);
    checkParts(file, this.root, there);
    this.nCells = nRows(file, `${this.root}obs`);
    this.obs = columnNames(file, `${this.root}obs`);
    this.layers = this.findLayers(there);
    this.obsm = file.keys(`${this.root}obsm`).filter((key) => this.isMatrix(`${this.root}obsm/${key}`));
  }

  private findLayers(there: string[]): string[] {
    const found = there.includes("X") && this.isMatrix(`${this.root}X`) ? ["X"] : [];
    found.push(...this.file.keys(`${this.root}layers`).filter((name) => this.isMatrix(`${this.root}layers/${name}`)));
    return this.hasRaw && !found.includes("raw") ? [...found, "raw"] : found;
  }

  private get hasRaw(): boolean {
    const there = this.file.keys(`${this.root}raw`);
    return there.includes("X") && there.includes("var");
  }

  private isMatrix(path: string): boolean {
    if (this.file.isDataset(path)) {
      const { kind, shape } = this.file.shape(path);
      // Of numbers that cannot be read: that is told once they are asked for.
      return shape.length === 2 && !["text", "reference"].includes(kind);
    }
    return this.sparseForm(path) !== undefined || this.file.textAttribute(path, "encoding-type") === "dataframe";
  }

  private sparseForm(path: string): "rows" | "columns" | undefined {
    const encoding = this.file.textAttribute(path, "encoding-type") || this.file.textAttribute(path, "h5sparse_format");
    return SPARSE[encoding];
  }

  matrix(layer: string): Matrix {
    let matrix = this.matrices.get(layer);
    if (matrix === undefined) {
      const path = layer === "X" ? "X" : layer === "raw" && this.hasRaw ? "raw/X" : `layers/${layer}`;
      matrix = this.read(`${this.root}${path}`);
      const nColumns = this.varNames(layer).length;
      if (matrix.nCells !== this.nCells || matrix.nColumns !== nColumns) {
        throw new InputError(
          `${this.file.name} is damaged: ${path} is ${matrix.nCells} x ${matrix.nColumns}, but there are ` +
            `${this.nCells} cells and ${nColumns} columns; get a new copy.`,
        );
      }
      this.matrices.set(layer, matrix);
    }
    return matrix;
  }

  private read(path: string): Matrix {
    const { file } = this;
    if (file.isDataset(path)) {
      return new StoredDense(file, path);
    }
    const form = this.sparseForm(path);
    const size = file.numbersAttribute(path, "shape") ?? file.numbersAttribute(path, "h5sparse_shape");
    if (form === undefined || size === null) {
      throw new InputError(
        `${path} in ${file.name} is not a matrix that can be read; write the file anew with a current anndata.`,
      );
    }
    return form === "rows"
      ? new StoredCsr(file, path, size[0], size[1])
      : new StoredCsc(file, path, size[0], size[1], this.slot);
  }

  private varFrame(layer: string): string {
    return layer === "raw" && this.hasRaw ? `${this.root}raw/var` : `${this.root}var`;
  }

  private namesOf(frame: string): string[] {
    let names = this.names.get(frame);
    if (names === undefined) {
      names = rowNames(this.file, frame);
      this.names.set(frame, names);
    }
    return names;
  }

  varNames(layer: string): string[] {
    return this.namesOf(this.varFrame(layer));
  }

  varColumns(layer: string): string[] {
    const frame = this.varFrame(layer);
    return columnNames(this.file, frame).filter((name) => isTextColumn(this.file, frame, name));
  }

  varColumn(layer: string, name: string): string[] {
    return columnTexts(this.file, this.varFrame(layer), name);
  }

  obsmMatrix(key: string): { matrix: Matrix; names: string[] | null } {
    const path = `${this.root}obsm/${key}`;
    const place = `obsm:${key}`;
    const isFrame =
      this.file.textAttribute(path, "encoding-type") === "dataframe" && this.sparseForm(path) === undefined;
    const columns = isFrame ? columnNames(this.file, path) : null;
    let matrix = this.matrices.get(place);
    if (matrix === undefined) {
      matrix = columns === null ? this.read(path) : this.frame(path, key, columns);
      this.matrices.set(place, matrix);
    }
    return { matrix, names: columns ?? this.namesBeside(key) };
  }

  private frame(path: string, key: string, columns: string[]): Matrix {
    const paths = columns.map((name) => `${path}/${name}`);
    if (
      !paths.every(
        (column) =>
          this.file.isDataset(column) && ["integer", "float", "boolean"].includes(this.file.shape(column).kind),
      )
    ) {
      throw new InputError(
        `obsm ${key} of ${this.title} has columns that are no plain numbers; write them as numbers.`,
      );
    }
    return new StoredFrame(this.file, paths, this.nCells);
  }

  /** Names of the columns of an array, where scvi-tools and others put them. */
  private namesBeside(key: string): string[] | null {
    for (const name of [`${key}_names`, "protein_names", "_protein_names"]) {
      const path = `${this.root}uns/${name}`;
      if (this.file.isDataset(path)) {
        return this.file.shape(path).kind === "text"
          ? this.file.texts(path)
          : Array.from(this.file.numbers(path), String);
      }
    }
    return null;
  }

  cellIds(): string[] {
    return this.namesOf(`${this.root}obs`);
  }

  obsColumn(name: string): ObsColumn {
    return readColumn(this.file, `${this.root}obs`, name);
  }
}

function checkParts(file: H5File, root: string, there: string[]): void {
  for (const part of ["obs", "var"]) {
    if (!there.includes(part)) {
      throw new InputError(
        `${file.name} is an HDF5 file, but neither an AnnData, a MuData nor a 10x file: it has ` +
          `${there.slice(0, 6).join(", ") || "nothing"} in it. Write your cells by adata.write_h5ad("cells.h5ad") and drop that.`,
      );
    }
  }
  if (["obs", "var"].some((part) => file.isDataset(`${root}${part}`))) {
    throw new InputError(
      `${file.name} was written by an anndata older than 0.7; write it anew with a current one: ` +
        'anndata.read_h5ad("old.h5ad").write_h5ad("new.h5ad").',
    );
  }
}
