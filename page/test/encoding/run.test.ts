import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { encodeAll } from "../../src/encoding/run";
import type { Plan } from "../../src/planning/contract";
import { ServiceError } from "../../src/service/problem";
import { Service } from "../../src/service/service";
import { EncodeRequestSchema, EncodeResponseSchema, Tensor_DType } from "../../src/service/stub/totalvi_v1_pb";
import { tableOf } from "../table_of";

const LIMITS = {
  max_request_bytes: 1 << 20,
  max_request_cells: 300,
  max_samples: 10,
  max_sample_values: 1000,
  max_columns: 1000,
};

function planOf(nCells: number, value = (cell: number) => (cell % 200) + 1): Plan {
  const rows = (from: number, to: number) => ({
    indptr: Int32Array.from({ length: to - from + 1 }, (_, at) => at),
    indices: new Int32Array(to - from),
    data: Float32Array.from({ length: to - from }, (_, at) => value(from + at)),
    nColumns: 1,
  });
  return {
    nCells,
    counts: "",
    table: tableOf(nCells),
    genes: { matrix: { nCells, nColumns: 1, rows }, place: "X", target: Int32Array.of(0), names: ["A"], extra: [] },
    proteins: null,
    batch: null,
    categorical: {},
    continuous: {},
    allowNonInteger: false,
    hints: [],
  };
}

/** Answers each cell with its own count, as mean; later slices sooner than earlier ones. */
class Echo extends Service {
  sizes: number[] = [];
  flying = 0;
  mostFlying = 0;

  constructor(private readonly refuse: (first: number) => unknown = () => null) {
    super("http://localhost/");
  }

  override async post(_: string, body: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<Uint8Array> {
    this.mostFlying = Math.max(this.mostFlying, ++this.flying);
    try {
      const request = fromBinary(EncodeRequestSchema, body);
      await new Promise((resolve) => setImmediate(resolve));
      signal?.throwIfAborted();
      const refusal = this.refuse(Number(request.firstCell));
      if (refusal) throw refusal;
      const form = request.geneCounts!.form;
      if (form.case !== "csr") throw new Error("not sparse");
      const counts = Float32Array.from(form.value.data!.data);
      this.sizes.push(counts.length);
      const one = { dtype: Tensor_DType.F32, shape: [BigInt(counts.length)], data: new Uint8Array(counts.buffer) };
      return toBinary(
        EncodeResponseSchema,
        create(EncodeResponseSchema, {
          nCells: BigInt(counts.length),
          qz: { mean: one, variance: one },
          z: one,
          library: { observed: one },
          warnings: [{ code: "missing_genes", detail: "1 is missing", count: 1n, examples: [] }],
        }),
      );
    } finally {
      this.flying--;
    }
  }
}

function run(service: Service, more: object = {}) {
  const signal = new AbortController().signal;
  return { service, limits: LIMITS, model: "m", version: "1", signal, progress: () => {}, ...more };
}

test("every cell's answer stands at its place, whatever the order of the answers", async () => {
  const service = new Echo();
  const told: number[] = [];
  const latents = await encodeAll(planOf(1000), run(service, { progress: (nDone: number) => told.push(nDone) }));
  expect(Array.from(latents.mean)).toEqual(Array.from({ length: 1000 }, (_, cell) => (cell % 200) + 1));
  expect(latents.nLatent).toBe(1);
  expect(told.at(-1)).toBe(1000);
  expect(service.sizes.sort()).toEqual([100, 300, 300, 300]);
  expect(service.mostFlying).toBeLessThanOrEqual(3);
  expect(latents.notices.all).toHaveLength(1);
});

test("a message over the limit is halved until it fits", async () => {
  const service = new Echo();
  await encodeAll(planOf(100), run(service, { limits: { ...LIMITS, max_request_bytes: 200 } }));
  expect(Math.max(...service.sizes)).toBeLessThan(50);
  expect(service.sizes.reduce((sum, size) => sum + size)).toBe(100);
});

test("a refusal ends the run with the service's words, and nothing more is sent", async () => {
  const refusal = new ServiceError({ code: "invalid", detail: "gene_counts is negative" }, false, 0);
  const service = new Echo((first) => (first === 300 ? refusal : null));
  await expect(encodeAll(planOf(3000), run(service))).rejects.toBe(refusal);
  expect(service.sizes.length).toBeLessThan(6);
});

test("the stop button ends it as stopped", async () => {
  const stop = new AbortController();
  const given = run(new Echo(), { signal: stop.signal, progress: () => stop.abort() });
  await expect(encodeAll(planOf(3000), given)).rejects.toMatchObject({ name: "AbortError" });
});

test("rows that are no counts are never sent, and the cell is named", async () => {
  const service = new Echo();
  const plan = planOf(900, (cell) => (cell === 700 ? 0.5 : 1));
  await expect(encodeAll(plan, run(service))).rejects.toThrow("cell-700");
  expect(service.sizes.every((size) => size === 300)).toBe(true);
});
