import { unzipSync } from "fflate";
import { expect, test } from "vitest";
import { Latents } from "../../src/encoding/latents";
import { csvOf } from "../../src/taking/csv";
import { npy, npzOf } from "../../src/taking/npz";
import { floatText } from "../../src/taking/numbers";
import { type Made, snippets } from "../../src/taking/snippets";

function latentsOf(): Latents {
  const latents = new Latents("pbmc", "1", 2);
  latents.nLatent = 2;
  latents.z = Float32Array.of(0.1, -2, 1e-7, 3.4e38);
  latents.mean = Float32Array.of(1, 2, 3, 4);
  latents.variance = Float32Array.of(5, 6, 7, 8);
  latents.library = Float32Array.of(16777216, 5);
  return latents;
}

test("a float32 reads back to the same bits, and is short", () => {
  const bits = new Uint32Array(1);
  const value = new Float32Array(bits.buffer);
  let state = 1;
  for (let n = 0; n < 20_000; n++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bits[0] = state;
    if (!Number.isFinite(value[0])) continue;
    const text = floatText(value[0]);
    expect(Object.is(Math.fround(Number(text)), value[0])).toBe(true);
    expect(text.length).toBeLessThanOrEqual(24);
  }
  expect(floatText(Math.fround(0.1))).toBe("0.100000001");
  expect(floatText(3)).toBe("3");
});

test("the table has a line for each cell, and names with commas are quoted", async () => {
  const text = await csvOf(latentsOf(), ["a", 'b,"1"']).text();
  const lines = text.trimEnd().split("\n");
  expect(lines[0]).toBe("cell,z_1,z_2,qz_mean_1,qz_mean_2,qz_variance_1,qz_variance_2,library");
  expect(lines[1]).toBe("a,0.100000001,-2,1,2,5,6,16777216");
  expect(lines[2].startsWith('"b,""1""",')).toBe(true);
  expect(lines).toHaveLength(3);
});

test("an array's header is of NumPy's format, and its data are aligned", () => {
  const file = npy("<f4", [2, 2], Float32Array.of(1, 2, 3, 4));
  const text = new TextDecoder("latin1").decode(file);
  expect(Array.from(file.subarray(0, 8))).toEqual([0x93, ...Array.from("NUMPY", (one) => one.charCodeAt(0)), 1, 0]);
  const length = file[8] + 256 * file[9];
  expect((10 + length) % 64).toBe(0);
  expect(text.slice(10, 10 + length)).toMatch(/^\{'descr': '<f4', 'fortran_order': False, 'shape': \(2, 2\), \} *\n$/);
  expect(Array.from(new Float32Array(file.slice(10 + length).buffer))).toEqual([1, 2, 3, 4]);
});

test("the archive holds every array", async () => {
  const files = unzipSync(new Uint8Array(await npzOf(latentsOf(), ["a", "bé"]).arrayBuffer()));
  expect(Object.keys(files).sort()).toEqual(["cells.npy", "library.npy", "qz_mean.npy", "qz_variance.npy", "z.npy"]);
  expect(new TextDecoder("latin1").decode(files["cells.npy"])).toContain("'<U2'");
});

const MADE: Made = {
  base: "https://totalvi.example.org/lab/",
  model: "pbmc",
  version: "2",
  fileName: "my cells.h5ad",
  format: "h5ad",
  choice: {
    layer: "counts",
    geneColumn: "gene_ids",
    proteins: "none",
    labels: { batch: { column: "run" }, "covariate:donor": { value: 'd"1' }, "covariate:age": null },
    allowNonInteger: true,
  },
  withToken: true,
  requestName: "my cells.request.json",
};

test("the snippets hold the file's choices, and never the token", () => {
  const [curl, python, r] = snippets(MADE);
  expect(curl.text).toContain("https://totalvi.example.org/lab/v1/models/pbmc/versions/2/encode");
  expect(curl.text).toContain("-d @'my cells.request.json'");
  expect(curl.text).toContain('"Authorization: Bearer $TOTALVI_CLIENT_TOKEN"');
  for (const argument of [
    '"my cells.h5ad"',
    'layer="counts"',
    'gene_column="gene_ids"',
    "proteins=False",
    'batch_key="run"',
    'covariates={"donor": "d\\"1"}',
    "allow_non_integer=True",
  ]) {
    expect(python.text).toContain(argument);
  }
  expect(r.text).toContain("req_auth_bearer_token");
});

test("formats that the client does not read go as the request", () => {
  const python = snippets({ ...MADE, format: "csv", withToken: false })[1];
  expect(python.needsRequest).toBe(true);
  expect(python.text).not.toContain("Authorization");
});
