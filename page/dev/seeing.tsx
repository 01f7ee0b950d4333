/** @jsxImportSource preact */
/** The plot with made-up cells: `vite` and /dev/seeing.html?n=100000&by=uncertainty; not part of the build. */

import { render } from "preact";
import { useState } from "preact/hooks";
import type { Colouring, Projection } from "../src/seeing/contract";
import { LatentPlot } from "../src/seeing/latent_plot";
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
const projection: Projection = { kind: "PCA", points, axes: ["PC1 (23 %)", "PC2 (11 %)"] };
const cellIds = Array.from({ length: n }, (_, i) => `CELL-${String(i).padStart(6, "0")}-1`);

function Page() {
  const [selected, setSelected] = useState<Uint8Array | null>(null);
  const [pinned, setPinned] = useState<number | null>(null);
  return (
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
        picture.src = URL.createObjectURL(await png);
        document.body.append(picture);
      }}
    />
  );
}

render(<Page />, document.getElementById("page")!);
