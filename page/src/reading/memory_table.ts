/** A table whose names are in memory: of 10x files, of a matrix-market trio, of a sheet. */

import { InputError, type Matrix, type ObsColumn, type Table } from "./contract";

/** What is told of the cells or columns of a sheet. */
export interface Told {
  name: string;
  texts: string[];
}

export interface Contents {
  title: string;
  matrix: Matrix;
  varNames: string[];
  var: Told[];
  cellIds: string[];
  obs: { name: string; column: ObsColumn }[];
  chooseNames: boolean;
}

export class MemoryTable implements Table {
  readonly title: string;
  readonly nCells: number;
  readonly layers: readonly string[] = ["X"];
  readonly chooseNames: boolean;
  readonly obsm: readonly string[] = [];
  readonly obs: readonly string[];

  constructor(private readonly contents: Contents) {
    this.title = contents.title;
    this.nCells = contents.matrix.nCells;
    this.chooseNames = contents.chooseNames;
    this.obs = contents.obs.map(({ name }) => name);
    const { matrix, title } = contents;
    checkLength(title, "genes", contents.varNames.length, matrix.nColumns);
    for (const { name, texts } of contents.var) {
      checkLength(title, name, texts.length, matrix.nColumns);
    }
    checkLength(title, "barcodes", contents.cellIds.length, matrix.nCells);
  }

  matrix(): Matrix {
    return this.contents.matrix;
  }

  varNames(): string[] {
    return this.contents.varNames;
  }

  varColumns(): string[] {
    return this.contents.var.map(({ name }) => name);
  }

  varColumn(_layer: string, name: string): string[] {
    return this.contents.var.find((column) => column.name === name)?.texts ?? [];
  }

  obsmMatrix(key: string): never {
    throw new InputError(`${this.title} has no ${key}.`);
  }

  cellIds(): string[] {
    return this.contents.cellIds;
  }

  obsColumn(name: string): ObsColumn {
    const found = this.contents.obs.find((column) => column.name === name);
    if (found === undefined) {
      throw new InputError(`${this.title} has no column ${name}.`);
    }
    return found.column;
  }
}

function checkLength(title: string, what: string, found: number, wanted: number): void {
  if (found !== wanted) {
    throw new InputError(
      `the parts of ${title} do not belong together, or one is cut short: there are ${found} ${what} for ${wanted} in the ` +
        "matrix; get all of them from one download.",
    );
  }
}
