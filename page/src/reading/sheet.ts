/** A sheet of comma- or tab-separated counts. It does not tell whether its lines are cells or genes: both are kept. */

import Papa from "papaparse";
import { InputError, type ObsColumn, type Study } from "./contract";
import { type Columns, checkBytes, columnsOf, HeldRows, MOST_BYTES, TurnedRows, Values } from "./held_rows";
import { MemoryTable, type Told } from "./memory_table";
import { factorized } from "./stored_column";
import { gunzipped, pour, type Sink, Unpacked } from "./unpack";

const FIRST_ENTRIES = 1 << 20;
const NEWLINE = 10;
/** Lines that are read at once. */
const TEXT_BYTES = 4 << 20;
/** A line: the names of half a million cells. */
const MOST_LINE_BYTES = 16 << 20;
/** What a name takes beside its characters, about. */
const NAME_BYTES = 64;
const MISSING = new Set(["", "NA", "NaN", "nan", "N/A", "null"]);

/** Read a sheet. */
export async function studyOfSheet(file: File): Promise<Study> {
  const reader = new SheetReader(file.name);
  await pour(file, gunzipped(file.name, new Lines(reader), new Unpacked(file.size)));
  return reader.study();
}

/** Cuts bytes into texts of whole lines. */
class Lines implements Sink {
  private readonly decoder = new TextDecoder();
  private texts: string[] = [];
  private nHeld = 0;

  constructor(private readonly reader: SheetReader) {}

  push(piece: Uint8Array): void {
    for (let at = 0; at < piece.length; at += TEXT_BYTES) {
      const part = piece.subarray(at, at + TEXT_BYTES);
      // Lines are read by the megabyte: piece by piece, as they are unpacked, would be slower.
      const isDue = this.nHeld + part.length >= TEXT_BYTES;
      const end = isDue ? part.lastIndexOf(NEWLINE) + 1 : 0;
      if (end > 0) {
        this.hold(part.subarray(0, end));
        this.read();
      }
      this.hold(part.subarray(end));
    }
  }

  end(): void {
    this.texts.push(this.decoder.decode());
    this.read();
  }

  private hold(part: Uint8Array): void {
    this.texts.push(this.decoder.decode(part, { stream: true }));
    this.nHeld += part.length;
    if (this.nHeld > MOST_LINE_BYTES) {
      throw this.reader.tooLong();
    }
  }

  private read(): void {
    const text = this.texts.join("");
    this.texts = [];
    this.nHeld = 0;
    this.reader.read(text);
  }
}

/** A text of its own: part of another one, such as a field of what was read, would keep all of that in memory. */
function own(text: string): string {
  return ` ${text}`.slice(1);
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
  private nameBytes = 0;

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
      this.header = fields.map((field) => own(field.trim()));
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
        this.lineNames.push(this.kept(fields[at]));
      } else {
        this.told[nTold++].texts.push(this.kept(fields[at]));
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

  /** A name that is kept to the end. */
  private kept(field: string): string {
    this.nameBytes += NAME_BYTES + field.length;
    return own(field);
  }

  /** Make room for another line. */
  private grow(width: number): void {
    const needed = this.nEntries + width;
    const entryBytes = this.columns.BYTES_PER_ELEMENT + this.values.array.BYTES_PER_ELEMENT;
    const otherBytes = this.nameBytes + Float64Array.BYTES_PER_ELEMENT * this.ends.length;
    const advice = 'write it as h5ad: scanpy.read_csv("cells.csv").write_h5ad("cells.h5ad"), and drop that';
    checkBytes(this.name, needed * entryBytes + otherBytes, advice);
    if (needed <= this.columns.length) {
      return;
    }
    const length = Math.min(Math.ceil(1.5 * needed), Math.floor((MOST_BYTES - otherBytes) / entryBytes));
    const columns = columnsOf(length, this.names.length);
    columns.set(this.columns);
    this.columns = columns;
    const Type = this.values.array.constructor as Float64ArrayConstructor;
    const values = new Type(length);
    values.set(this.values.array);
    this.values.array = values;
  }

  tooLong(): InputError {
    return new InputError(
      `${this.name} has a line of more than ${MOST_LINE_BYTES >> 20} MB, which no sheet of counts has; is it one, or damaged?`,
    );
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
