import { signal } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import { Trouble } from "../frame/trouble";
import { percent } from "../frame/words";
import type { Colouring, Posterior, Projection } from "../seeing/contract";
import { LatentPlot } from "../seeing/latent_plot";
import { PosteriorPanel } from "../seeing/posterior_panel";
import { Projections, StoppedError } from "../seeing/projections";
import type { UmapProgress } from "../seeing/umap";
import { type Problem, problemOf } from "../service/problem";
import { Downloads } from "../taking/downloads";
import { save, stemOf } from "../taking/save";
import { ask, isChanged, outcomeOf, type Result } from "../trying/bench";

/** Draws of a chosen cell's posterior. */
const DRAWS = 100;

/** What the cells are coloured by, as a person chose it; it stays when the cells are encoded again. */
const chosenColour = signal<string | null>(null);

/** The encoded cells in two dimensions, one cell's posterior, and what can be taken home. */
export function SeeIt({ result }: { result: Result }) {
  const { encoded, file } = result;
  const [projections] = useState(() => new Projections());
  const [cellIds, setCellIds] = useState<string[] | null>(null);
  const [projection, setProjection] = useState<Projection | null>(null);
  const [progress, setProgress] = useState<UmapProgress | null>(null);
  const colourBy = colourOf(result);
  const [colouring, setColouring] = useState<Colouring | null>(null);
  const [selected, setSelected] = useState<Uint8Array | null>(null);
  const [pinned, setPinned] = useState<number | null>(null);
  const [posterior, setPosterior] = useState<Posterior | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);

  const projected = async (kind: Projection["kind"]) => {
    const { z, nLatent } = await ask((bench) => bench.latent(encoded.id));
    if (kind === "PCA") return projections.pca(z, encoded.nCells, nLatent);
    return projections.umap(z, encoded.nCells, nLatent, setProgress);
  };

  useEffect(() => {
    const begin = async () => {
      setCellIds(await ask((bench) => bench.cellIds(encoded.id)));
      setProjection(await projected("PCA"));
    };
    begin().catch((error) => setProblem(problemOf(error)));
    return () => projections.stop();
  }, [encoded, projections]);

  useEffect(() => {
    let isWanted = true;
    const look = async () => {
      const outcome = await outcomeOf((bench) => bench.colouring(encoded.id, colourBy));
      if (!isWanted) return;
      if (outcome.ok) return setColouring(outcome.value);
      setProblem(outcome.problem);
      chosenColour.value = "library";
    };
    void look();
    return () => {
      isWanted = false;
    };
  }, [colourBy]);

  useEffect(() => {
    setPosterior(null);
    if (pinned === null) return;
    let isWanted = true;
    const look = async () => {
      const outcome = await outcomeOf((bench) => bench.posterior(encoded.id, pinned, DRAWS));
      if (!isWanted) return;
      setProblem(outcome.ok ? null : outcome.problem);
      if (outcome.ok) setPosterior(outcome.value);
    };
    void look();
    return () => {
      isWanted = false;
    };
  }, [pinned]);

  const project = async (kind: Projection["kind"]) => {
    setProblem(null);
    try {
      setProjection(await projected(kind));
    } catch (error) {
      if (!(error instanceof StoppedError)) setProblem({ code: "picture", detail: (error as Error).message });
    }
    setProgress(null);
  };

  return (
    <section aria-labelledby="see-title" id="see">
      <h2 id="see-title">See it</h2>
      {isChanged.value && (
        <p class="note">
          What is below is of the model and the choices before: {encoded.model}, version {encoded.version}, as it was
          encoded.
        </p>
      )}
      {problem && <Trouble problem={problem} />}
      {projection === null || colouring === null || cellIds === null ? (
        <p class="soft" role="status">
          Drawing …
        </p>
      ) : (
        <>
          <div class="row tools-above">
            <ColourChoice columns={encoded.obs} chosen={colourBy} choose={(name) => (chosenColour.value = name)} />
            <fieldset class="row bare">
              <legend class="hidden">Projection</legend>
              {(["PCA", "UMAP"] as const).map((kind) => (
                <button
                  key={kind}
                  type="button"
                  aria-pressed={projection.kind === kind}
                  disabled={progress !== null || encoded.nCells < 2}
                  onClick={() => void project(kind)}
                >
                  {kind}
                </button>
              ))}
            </fieldset>
            {progress && <UmapBar now={progress} stop={() => projections.stop()} />}
          </div>
          <LatentPlot
            projection={projection}
            colouring={colouring}
            cellIds={cellIds}
            selected={selected}
            onSelect={setSelected}
            pinned={pinned}
            onPin={setPinned}
            title={`${file.fileName}, ${encoded.model} version ${encoded.version}`}
            onPicture={(png) => {
              png.then(
                (blob) => save(blob, `${stemOf(file.fileName)}.png`),
                (error) => setProblem(problemOf(error)),
              );
            }}
          />
          {posterior && (
            <div class="panel">
              <PosteriorPanel posterior={posterior} latentDistribution={encoded.latentDistribution} />
            </div>
          )}
          <Downloads result={result} selected={namesOf(cellIds, selected)} />
        </>
      )}
    </section>
  );
}

interface ColourChoiceProps {
  columns: string[];
  chosen: string;
  choose: (name: string) => void;
}

function ColourChoice({ columns, chosen, choose }: ColourChoiceProps) {
  return (
    <label class="row">
      <span>Colour by</span>
      <select value={chosen} onChange={(event) => choose(event.currentTarget.value)}>
        {columns.map((name) => (
          <option key={name} value={`obs:${name}`}>
            {name}
          </option>
        ))}
        <option value="library">library size (counts of the model's genes)</option>
        <option value="uncertainty">posterior uncertainty</option>
      </select>
    </label>
  );
}

function colourOf(result: Result): string {
  const chosen = chosenColour.value;
  const isThere =
    chosen !== null && (!chosen.startsWith("obs:") || result.encoded.obs.includes(chosen.slice("obs:".length)));
  return isThere ? chosen : firstColour(result);
}

/** Usual names of the column that a biologist looks for first. */
const KINDS_OF_CELLS = /^(cell[ ._-]?types?|cell[ ._-]?labels?|populations?|annotations?|clusters?|leiden|louvain)/i;

/** The column of cell types or clusters, else of the batch, else the first one, else the library size. */
function firstColour({ encoded }: Result): string {
  const columns = encoded.obs;
  const kind = columns.find((name) => KINDS_OF_CELLS.test(name));
  if (kind) return `obs:${kind}`;
  const key = encoded.batchKey;
  if (key && columns.includes(key)) return `obs:${key}`;
  return columns.length > 0 ? `obs:${columns[0]}` : "library";
}

function UmapBar({ now, stop }: { now: UmapProgress; stop: () => void }) {
  return (
    <span class="row" role="status">
      <span>
        UMAP: {now.stage}
        {now.nEpochs > 0 && ` (${percent(now.epoch / now.nEpochs)})`} …
      </span>
      <button type="button" onClick={stop}>
        Stop UMAP
      </button>
    </span>
  );
}

function namesOf(cellIds: readonly string[], selected: Uint8Array | null): string[] | null {
  return useMemo(
    () => (selected === null ? null : cellIds.filter((_, cell) => selected[cell] !== 0)),
    [cellIds, selected],
  );
}
