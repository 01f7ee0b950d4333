/** What the report says of genes and proteins, for a biologist. */

import { counted, percent, whole } from "../frame/words";
import type { Coverage, Report } from "../worker/contract";

export interface Told {
  text: string;
  tone: "fine" | "warned" | "";
}

/** Below this share of the model's columns cells shift noticeably. */
const NEARLY_ALL = 0.95;

export function toldOfGenes(report: Report): Told[] {
  const { genes: coverage } = report;
  const { known, missing, extra, coverage: share } = coverage;
  if (known + missing === 0) {
    return [];
  }
  const sentences = [has(coverage, "gene")];
  if (missing > 0) {
    sentences.push(
      `${areMissing(missing, "gene")}, as if not expressed${named(report, "missing_genes", coverage.missing)}.`,
    );
  }
  if (share < NEARLY_ALL) {
    sentences.push(
      "Cells may lie elsewhere than with all of them. If the file holds a selection of genes, such as the most variable ones, use one with " +
        "all genes.",
    );
  }
  const told = [{ text: sentences.join(" "), tone: tone(share) }];
  if (extra > 0) {
    const usual = share < NEARLY_ALL ? "" : " That is usual: a model knows a selection of genes.";
    told.push({ text: `${areUnknown(extra, "gene")}${named(report, "extra_genes", extra)}.${usual}`, tone: "" });
  }
  return told;
}

export function toldOfProteins(report: Report): Told[] {
  const { proteins: coverage } = report;
  const { given, known, missing, extra, coverage: share } = coverage;
  if (known + missing === 0) {
    return [{ text: "The model knows no proteins; none are sent.", tone: "" }];
  }
  if (given === 0) {
    const model = `${counted(missing, "protein")} of the model ${missing === 1 ? "counts" : "count"}`;
    return [{ text: `No proteins are sent, as you chose: ${model} as 0, which shifts the cells.`, tone: "warned" }];
  }
  const sentences = [has(coverage, "protein")];
  if (missing > 0) {
    sentences.push(
      `${areMissing(missing, "protein")}, as if no antibody had bound${named(report, "missing_proteins", missing)}.`,
      "Cells may lie elsewhere than with all of them; those that were measured must bear the model's names to be used.",
    );
  }
  const told = [{ text: sentences.join(" "), tone: tone(share) }];
  if (extra > 0) {
    const what =
      missing > 0
        ? "Look whether the missing ones are among them, under other names."
        : "The model was trained without them.";
    told.push({ text: `${areUnknown(extra, "protein")}${named(report, "extra_proteins", extra)}. ${what}`, tone: "" });
  }
  return told;
}

function tone(share: number): Told["tone"] {
  return share < NEARLY_ALL ? "warned" : "fine";
}

function has({ known, missing, coverage }: Coverage, kind: string): string {
  return `Your file has ${whole(known)} of the model's ${counted(known + missing, kind)} (${percent(coverage)}).`;
}

function areMissing(n: number, kind: string): string {
  return `${counted(n, kind)} ${n === 1 ? "is missing and counts" : "are missing and count"} as 0`;
}

function areUnknown(n: number, kind: string): string {
  return `${counted(n, kind)} of the file ${n === 1 ? "is" : "are"} unknown to the model and not used`;
}

/** `: A, B, …`, as far as the service names them. */
function named({ warnings }: Report, code: string, n: number): string {
  const examples = warnings.find((warning) => warning.code === code)?.examples ?? [];
  return examples.length === 0 ? "" : `: ${examples.join(", ")}${examples.length < n ? ", …" : ""}`;
}
