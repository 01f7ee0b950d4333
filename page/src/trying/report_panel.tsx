import { counted, whole } from "../frame/words";
import type { Report } from "../worker/contract";
import { busy, encode, isChanged, result } from "./bench";
import { toldOfGenes, toldOfProteins } from "./report_words";

/** What the sentences of the report already say. */
const TOLD = new Set(["missing_genes", "missing_proteins", "extra_genes", "extra_proteins"]);

/** How the file meets the model, for a biologist, before anything is computed. */
export function ReportPanel({ report }: { report: Report }) {
  const others = report.warnings.filter((warning) => !TOLD.has(warning.code));
  return (
    <section class="panel" aria-labelledby="report-title">
      <h3 id="report-title">Report</h3>
      <ul class="report">
        <li>Raw counts: {report.counts}.</li>
        {[...toldOfGenes(report), ...toldOfProteins(report)].map(({ text, tone }) => (
          <li key={text} class={tone}>
            {text}
          </li>
        ))}
        {report.hints.map((hint) => (
          <li key={hint} class="warned">
            {hint}
          </li>
        ))}
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

function doing(report: Report): string {
  if (isChanged.value) return "Encode with these choices";
  return result.value ? "Encode again" : `Encode ${counted(report.nCells, "cell")}`;
}
