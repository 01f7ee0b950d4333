import { counted, percent, whole } from "../frame/words";
import type { Coverage, Report } from "../worker/contract";
import { busy, encode, isChanged, result } from "./bench";

/** What the sentences of the report already say. */
const TOLD = new Set(["missing_genes", "missing_proteins", "extra_genes", "extra_proteins"]);
/** Below this share of the model's columns cells shift noticeably. */
const NEARLY_ALL = 0.95;

/** How the file meets the model, for a biologist, before anything is computed. */
export function ReportPanel({ report }: { report: Report }) {
  const others = report.warnings.filter((warning) => !TOLD.has(warning.code));
  return (
    <section class="panel" aria-labelledby="report-title">
      <h3 id="report-title">Report</h3>
      <ul class="report">
        <li>Raw counts: {report.counts}.</li>
        <Columns report={report} kind="gene" coverage={report.genes} />
        <Columns report={report} kind="protein" coverage={report.proteins} />
        {others.map((warning) => (
          <li key={warning.detail} class="warned">
            {warning.detail}
          </li>
        ))}
      </ul>
      <p class="small soft">
        {report.nChecked < report.nCells
          ? `The service looked at ${whole(report.nChecked)} of the cells; each is checked when it is encoded.`
          : "The service looked at every cell."}
      </p>
      <p>
        <button
          type="button"
          class="main"
          // Not disabled, which would take the keyboard's place away.
          aria-disabled={busy.value !== null}
          onClick={() => busy.value === null && void encode()}
        >
          {doing(report)}
        </button>
      </p>
    </section>
  );
}

function Columns({ report, kind, coverage }: { report: Report; kind: "gene" | "protein"; coverage: Coverage }) {
  const inModel = coverage.known + coverage.missing;
  if (inModel === 0) return kind === "protein" ? <li>The model knows no proteins; none are sent.</li> : null;
  const examples = report.warnings.find((warning) => warning.code === `missing_${kind}s`)?.examples ?? [];
  const extra = report.warnings.find((warning) => warning.code === `extra_${kind}s`)?.examples ?? [];
  return (
    <>
      <li class={coverage.coverage < NEARLY_ALL ? "warned" : "fine"}>
        Your file has {whole(coverage.known)} of the model's {counted(inModel, kind)} ({percent(coverage.coverage)}).{" "}
        {coverage.missing > 0 &&
          `${counted(coverage.missing, kind)} ${coverage.missing === 1 ? "is" : "are"} missing and ${
            coverage.missing === 1 ? "counts" : "count"
          } as 0, as if not expressed${examples.length > 0 ? `: ${listed(examples, coverage.missing)}` : ""}. `}
        {coverage.coverage < NEARLY_ALL &&
          "Cells may lie elsewhere than with all of them: encode before you select variable genes."}
      </li>
      {coverage.extra > 0 && (
        <li>
          {counted(coverage.extra, kind)} of the file {coverage.extra === 1 ? "is" : "are"} unknown to the model and not
          used{extra.length > 0 ? `: ${listed(extra, coverage.extra)}` : ""}. That is usual.
        </li>
      )}
    </>
  );
}

function listed(examples: string[], n: number): string {
  return examples.join(", ") + (examples.length < n ? ", …" : "");
}

function doing(report: Report): string {
  if (isChanged.value) return "Encode with these choices";
  return result.value ? "Encode again" : `Encode ${counted(report.nCells, "cell")}`;
}
