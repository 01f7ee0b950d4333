/** A sheet of comma- or tab-separated counts. It does not tell whether its lines are cells or genes: both are kept. */

import Papa from "papaparse";
import { InputError, type ObsColumn, type Study } from "./contract";
import { type Columns, checkSize, columnsOf, HeldRows, TurnedRows, Values } from "./held_rows";
import { MemoryTable, type Told } from "./memory_table";
import { factorized } from "./stored_column";
import { gunzipped, pour, type Sink } from "./unpack";

const FIRST_ENTRIES = 1 << 20;
const MISSING = new Set(["", "NA", "NaN", "nan", "N/A", "null"]);

/** Read a sheet. */
export async function studyOfSheet(file: File): Promise<Study> {
  const reader = new SheetReader(file.name);
  await pour(file, gunzipped(file.name, new Lines(reader)));
  return reader.study();
}

/** Cuts bytes into texts of whole lines. */
class Lines implements Sink {
  private readonly decoder = new TextDecoder();
  private rest = "";

  constructor(private readonly reader: SheetReader) {}

  push(piece: Uint8Array): void {
    const text = this.rest + this.decoder.decode(piece, { stream: true });
    const end = text.lastIndexOf("\n") + 1;
    this.rest = text.slice(end);
    this.reader.read(text.slice(0, end));
  }

  end(): void {
    this.reader.read(this.rest + this.decoder.decode());
  }
}

class SheetReader {
  private delimiter = "";
  private header: string[] | null = null;
  /** By column of the sheet: -1 the names of the lines, -2 text, else the position among the counts. */
  private roles: Int32Array | null = null;
  private readonly lineNames: string[] = [];
  private told: Told[] = [];
  private names: string[] = [];
  private readonly ends: number[] = [0];
  private columns: Columns = columnsOf(0, 0);
  private values = new Values(0);
  private nEntries = 0;

  constructor(private readonly name: string) {}

  read(text: string): void {
    if (text === "") {
      return;
    }
    this.delimiter ||= delimiterOf(text);
    const { data } = Papa.parse<string[]>(text, { delimiter: this.delimiter, skipEmptyLines: true });
    for (const line of data) {
      this.line(line);
    }
  }

  private line(fields: string[]): void {
    if (this.header === null) {
      this.header = fields.map((field) => field.trim());
      return;
    }
    if (this.roles === null) {
      this.roles = this.findRoles(this.header, fields);
    }
    if (fields.length !== this.roles.length) {
      throw new InputError(
        `line ${this.ends.length + 1} of ${this.name} has ${fields.length} fields and the first lines ${this.roles.length}; a sheet ` +
          "needs the same number in each line: was it cut short, or does a name hold a comma?",
      );
    }
    this.grow(fields.length);
    let nTold = 0;
    for (let at = 0; at < fields.length; at++) {
      const role = this.roles[at];
      if (role >= 0) {
        const value = Number(fields[at]);
        if (value !== 0) {
          this.add(role, Number.isNaN(value) ? this.missing(fields[at], at) : value);
        } else if (fields[at].trim() === "") {
          this.add(role, Number.NaN);
        }
      } else if (role === -1) {
        this.lineNames.push(fields[at]);
      } else {
        this.told[nTold++].texts.push(fields[at]);
      }
    }
    this.ends.push(this.nEntries);
  }

  private findRoles(header: string[], fields: string[]): Int32Array {
    // R leaves the name of the first column out.
    const names = header.length === fields.length - 1 ? ["", ...header] : header;
    const isText = fields.map((field) => Number.isNaN(Number(field)) && !MISSING.has(field.trim()));
    const hasNames = isText[0] || ["", "Unnamed: 0", "index", "cell", "gene", "barcode"].includes(names[0] ?? "");
    let nCounts = 0;
    const roles = Int32Array.from(fields, (_, at) => (at === 0 && hasNames ? -1 : isText[at] ? -2 : nCounts++));
    if (nCounts === 0 || names.length < fields.length) {
      throw new InputError(
        `${this.name} does not look like a table of counts: its second line is "${fields.join(this.delimiter).slice(0, 60)}". A sheet ` +
          "has the names of the genes in its first line and one cell a line (or the other way round), separated by commas or tabs.",
      );
    }
    this.names = [...roles.keys()].filter((at) => roles[at] >= 0).map((at) => names[at]);
    this.told = [...roles.keys()].filter((at) => roles[at] === -2).map((at) => ({ name: names[at], texts: [] }));
    this.columns = columnsOf(FIRST_ENTRIES, nCounts);
    this.values = new Values(FIRST_ENTRIES);
    return roles;
  }

  private missing(field: string, at: number): number {
    if (MISSING.has(field.trim())) {
      return Number.NaN;
    }
    const name = this.names[this.roles?.[at] ?? 0];
    throw new InputError(
      `${this.name} has "${field.slice(0, 40)}" in line ${this.ends.length + 1}, column ${name}, where the other lines have numbers; ` +
        "keep only the counts, the names, and columns that are text throughout.",
    );
  }

  private add(column: number, value: number): void {
    this.columns[this.nEntries] = column;
    this.values.set(this.nEntries, value);
    this.nEntries += 1;
  }

  /** Make room for another line. */
  private grow(width: number): void {
    const needed = this.nEntries + width;
    if (needed <= this.columns.length) {
      return;
    }
    const advice = 'write it as h5ad: scanpy.read_csv("cells.csv").write_h5ad("cells.h5ad"), and drop that';
    checkSize(this.name, needed, this.names.length, advice);
    const length = Math.ceil(1.5 * needed);
    const columns = columnsOf(length, this.names.length);
    columns.set(this.columns);
    this.columns = columns;
    const Type = this.values.array.constructor as Float64ArrayConstructor;
    const values = new Type(length);
    values.set(this.values.array);
    this.values.array = values;
  }

  study(): Study {
    if (this.roles === null) {
      throw new InputError(
        `${this.name} has no line of counts; a sheet has names in its first line and counts from its second on.`,
      );
    }
    const { names, told, name } = this;
    const nLines = this.ends.length - 1;
    const lines =
      this.lineNames.length > 0 ? this.lineNames : Array.from({ length: nLines }, (_, line) => String(line + 1));
    const rows = new HeldRows(
      Float64Array.from(this.ends),
      this.columns.subarray(0, this.nEntries),
      this.values.array.subarray(0, this.nEntries),
      names.length,
    );
    const obs = told.map(({ name: column, texts }): { name: string; column: ObsColumn } => ({
      name: column,
      column: factorized(texts),
    }));
    const shared = { title: name, chooseNames: false };
    const byLine = new MemoryTable({ ...shared, matrix: rows, varNames: names, var: [], cellIds: lines, obs });
    const byColumn = new MemoryTable({
      ...shared,
      matrix: new TurnedRows(rows),
      varNames: lines,
      var: told,
      cellIds: names,
      obs: [],
    });
    return { fileName: name, format: "csv", genes: byLine, proteins: null, turned: byColumn, close: () => {} };
  }
}

function delimiterOf(text: string): string {
  const [first] = text.split("\n", 1);
  const counts = ["\t", ",", ";"].map((delimiter) => first.split(delimiter).length - 1);
  return ["\t", ",", ";"][counts.indexOf(Math.max(...counts))];
}
