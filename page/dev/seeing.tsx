/** @jsxImportSource preact */
/** The plot with made-up cells: `vite` and /dev/seeing.html?n=100000&by=uncertainty; not part of the build. */

import { render } from "preact";
import { useState } from "preact/hooks";
import type { Colouring, Posterior, Projection } from "../src/seeing/contract";
import { LatentPlot } from "../src/seeing/latent_plot";
import { PosteriorPanel } from "../src/seeing/posterior_panel";
import { Projections } from "../src/seeing/projections";
import { seededRandom } from "../src/seeing/random";

const asked = new URLSearchParams(location.search);
const n = Number(asked.get("n") ?? 10000);
const k = Number(asked.get("k") ?? 8);
const random = seededRandom(3);
const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

const middles = Array.from({ length: k }, () => [normal() * 4, normal() * 3, 0.3 + random()]);
const codes = new Int32Array(n);
const values = new Float32Array(n);
const points = new Float32Array(2 * n);
for (let cell = 0; cell < n; cell++) {
  const of = Math.floor(k * random() ** 1.5);
  codes[cell] = random() < 0.01 ? -1 : of;
  points[2 * cell] = middles[of][0] + normal() * middles[of][2];
  points[2 * cell + 1] = middles[of][1] + normal() * middles[of][2];
  values[cell] = random() < 0.01 ? Number.NaN : Math.exp(normal() + points[2 * cell] / 8);
}
const colouring: Colouring =
  asked.get("by") === "uncertainty"
    ? { kind: "numbers", title: "posterior uncertainty", values }
    : { kind: "categories", title: "cell type", categories: middles.map((_, i) => `Type ${i + 1}`), codes };
const made: Projection = { kind: "PCA", points, axes: ["PC1 (23 %)", "PC2 (11 %)"] };
const cellIds = Array.from({ length: n }, (_, i) => `CELL-${String(i).padStart(6, "0")}-1`);

const nLatent = 20;
const z = Float32Array.from({ length: n * nLatent }, (_, i) => {
  const [cell, at] = [Math.floor(i / nLatent), i % nLatent];
  return at < 2 ? points[2 * cell + at] : normal() * 0.5 + ((codes[cell] + at) % 4);
});
const projections = new Projections();

function Page() {
  const [projection, setProjection] = useState(made);
  const [selected, setSelected] = useState<Uint8Array | null>(null);
  const [pinned, setPinned] = useState<number | null>(null);
  const [told, setTold] = useState("");
  const tell = (error: unknown): void => setTold(String(error));
  return (
    <>
      <button type="button" onClick={() => projections.pca(z, n, nLatent).then(setProjection, tell)}>
        PCA
      </button>
      <button
        type="button"
        onClick={() =>
          projections
            .umap(z, n, nLatent, (now) => setTold(`${now.stage} ${now.epoch} of ${now.nEpochs}`))
            .then(setProjection, tell)
        }
      >
        UMAP
      </button>
      <button type="button" onClick={() => projections.stop()}>
        Stop
      </button>{" "}
      {told}
      <LatentPlot
        projection={projection}
        colouring={colouring}
        cellIds={cellIds}
        selected={selected}
        onSelect={setSelected}
        pinned={pinned}
        onPin={setPinned}
        title="made-up cells"
        onPicture={async (png) => {
          const picture = document.createElement("img");
          picture.alt = "the saved picture";
          picture.src = URL.createObjectURL(await png);
          document.body.append(picture);
        }}
      />
      {pinned !== null && <PosteriorPanel posterior={posteriorOf(pinned)} latentDistribution="normal" />}
    </>
  );
}

function posteriorOf(cell: number): Posterior {
  const mean = z.slice(cell * nLatent, (cell + 1) * nLatent);
  const variance = mean.map((_, i) => 0.05 + 0.02 * i);
  const samples = Float32Array.from(
    { length: 25 * nLatent },
    (_, i) => mean[i % nLatent] + Math.sqrt(variance[i % nLatent]) * normal(),
  );
  return { cell, cellId: cellIds[cell], mean, variance, samples, seed: 7 };
}

render(<Page />, document.getElementById("page")!);
