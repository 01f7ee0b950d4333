/** The two directions along which the cells differ most: exact, at once, and the same every time. */

import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import type { Projection } from "./contract";

/** Of `z`, [cells x dimensions]; cells with a value that is no number are left out, as NaN. */
export function pca(z: Float32Array, nCells: number, nLatent: number): Projection {
  const { means, covariance } = momentsOf(z, nCells, nLatent);
  const { vectors, variances } = directionsOf(covariance, nLatent);
  const points = new Float32Array(2 * nCells).fill(Number.NaN);
  for (let cell = 0; cell < nCells; cell++) {
    let [x, y] = [0, 0];
    for (let i = 0; i < nLatent; i++) {
      const centred = z[cell * nLatent + i] - means[i];
      x += centred * vectors[0][i];
      y += centred * vectors[1][i];
    }
    if (Number.isFinite(x) && Number.isFinite(y)) points.set([x, y], 2 * cell);
  }
  const without = nCells - points.reduce((n, x, i) => (i % 2 === 0 && Number.isFinite(x) ? n + 1 : n), 0);
  const total = variances.reduce((sum, variance) => sum + variance, 0);
  const share = (at: number): string => `PC${at + 1} (${total > 0 ? Math.round((100 * variances[at]) / total) : 0} %)`;
  const axes: Projection["axes"] = [share(0), nLatent > 1 ? share(1) : "no second dimension"];
  if (without === 0) return { kind: "PCA", points, axes };
  return {
    kind: "PCA",
    points,
    axes,
    note: `${without.toLocaleString("en")} of ${nCells.toLocaleString("en")} cells are not shown: their latent values are no numbers.`,
  };
}

/** Means and covariance (times the number of cells) in one pass, in float64, as Welford's update does it. */
function momentsOf(z: Float32Array, nCells: number, nLatent: number) {
  const means = new Float64Array(nLatent);
  const covariance = new Float64Array(nLatent * nLatent);
  const before = new Float64Array(nLatent);
  let seen = 0;
  for (let cell = 0; cell < nCells; cell++) {
    const start = cell * nLatent;
    let finite = true;
    for (let i = 0; i < nLatent; i++) finite &&= Number.isFinite(z[start + i]);
    if (!finite) continue;
    seen++;
    for (let i = 0; i < nLatent; i++) {
      before[i] = z[start + i] - means[i];
      means[i] += before[i] / seen;
    }
    for (let i = 0; i < nLatent; i++) {
      for (let j = i; j < nLatent; j++) covariance[i * nLatent + j] += before[i] * (z[start + j] - means[j]);
    }
  }
  for (let i = 0; i < nLatent; i++) {
    for (let j = 0; j < i; j++) covariance[i * nLatent + j] = covariance[j * nLatent + i];
  }
  return { means, covariance };
}

/** The two leading directions, each with its largest part positive, and all variances from the largest on. */
function directionsOf(covariance: Float64Array, nLatent: number) {
  const square = Matrix.from1DArray(nLatent, nLatent, covariance);
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(square, { assumeSymmetric: true });
  const order = realEigenvalues.map((_, i) => i).sort((a, b) => realEigenvalues[b] - realEigenvalues[a]);
  const vectors = [0, 1].map((at) =>
    at < nLatent ? upright(eigenvectorMatrix.getColumn(order[at])) : new Array<number>(nLatent).fill(0),
  );
  return { vectors, variances: order.map((at) => Math.max(0, realEigenvalues[at])) };
}

function upright(vector: number[]): number[] {
  const largest = vector.reduce((kept, value) => (Math.abs(value) > Math.abs(kept) + 1e-12 ? value : kept), 0);
  return largest < 0 ? vector.map((value) => -value) : vector;
}
