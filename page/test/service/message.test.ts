import { expect, test } from "vitest";
import type { Plan, PlannedColumns } from "../../src/planning/contract";
import type { CsrRows, Matrix } from "../../src/reading/contract";
import { encodeRequest, requestBytes, sentRows } from "../../src/service/message";
import { type Tensor, Tensor_DType } from "../../src/service/stub/totalvi_v1_pb";
import { tableOf } from "../table_of";

function matrixOf(rows: number[][]): Matrix {
  return {
    nCells: rows.length,
    nColumns: rows[0].length,
    rows(from, to): CsrRows {
      const indptr = [0];
      const indices: number[] = [];
      const data: number[] = [];
      for (const row of rows.slice(from, to)) {
        row.forEach((value, column) => {
          if (value !== 0) {
            indices.push(column);
            data.push(value);
          }
        });
        indptr.push(data.length);
      }
      return {
        indptr: Int32Array.from(indptr),
        indices: Int32Array.from(indices),
        data: Float32Array.from(data),
        nColumns: rows[0].length,
      };
    },
  };
}

function columns(rows: number[][], target: number[], names: string[], extra: string[] = []): PlannedColumns {
  return { matrix: matrixOf(rows), place: "X", target: Int32Array.from(target), names, extra };
}

function planOf(genes: PlannedColumns, more: Partial<Plan> = {}): Plan {
  return {
    table: tableOf(genes.matrix.nCells),
    nCells: genes.matrix.nCells,
    counts: "X",
    genes,
    proteins: null,
    batch: null,
    categorical: {},
    continuous: {},
    allowNonInteger: false,
    hints: [],
    ...more,
  };
}

function numbers(tensor: Tensor | undefined): number[] {
  const { dtype, data } = tensor!;
  const bytes = data.slice().buffer;
  const read = {
    [Tensor_DType.U8]: Uint8Array,
    [Tensor_DType.U16]: Uint16Array,
    [Tensor_DType.I32]: Int32Array,
    [Tensor_DType.F32]: Float32Array,
    [Tensor_DType.F64]: Float64Array,
  }[dtype as number]!;
  return Array.from(new read(bytes));
}

test("columns that the model lacks are not sent, the others under their new positions", () => {
  const sent = columns(
    [
      [1, 2, 3],
      [0, 5, 0],
      [4, 0, 6],
    ],
    [1, -1, 0],
    ["B", "A"],
  );
  const rows = sentRows(planOf(sent), sent, 1, 3);
  expect(Array.from(rows.indptr)).toEqual([0, 0, 2]);
  expect(Array.from(rows.indices)).toEqual([1, 0]);
  expect(Array.from(rows.data)).toEqual([4, 6]);
});

test.each([
  [[[1, 255]], Tensor_DType.U8],
  [[[1, 256]], Tensor_DType.U16],
  [[[1, 65536]], Tensor_DType.F32],
  [[[1, 0.5]], Tensor_DType.F32],
])("counts travel in the smallest type that holds them exactly: %j", (rows, dtype) => {
  const plan = planOf(columns(rows, [0, 1], ["A", "B"]), { allowNonInteger: true });
  const request = encodeRequest(plan, 0, 1);
  const form = request.geneCounts?.form;
  if (form?.case !== "csr") throw new Error("not sparse");
  expect(form.value.data?.dtype).toBe(dtype);
  expect(numbers(form.value.data)).toEqual(rows[0]);
});

test("a slice carries its own labels, its place, and no names of cells", () => {
  const plan = planOf(columns([[1], [2], [3]], [0], ["A"]), {
    batch: { kind: "each", categories: ["x", "y"], codes: Int32Array.of(0, 1, 1) },
    categorical: { donor: { kind: "one", value: 3 } },
    continuous: {
      age: { kind: "each", values: Float64Array.of(1.5, 2.5, 3.5) },
      dose: { kind: "one", value: 2 },
    },
  });
  const request = encodeRequest(plan, 1, 3);
  expect(request.firstCell).toBe(1n);
  expect(request.cells).toEqual([]);
  expect(numbers(request.batch?.codes)).toEqual([1, 1]);
  expect(request.categoricalCovariates.donor.categories[0].value).toEqual({ case: "intValue", value: 3n });
  expect(request.categoricalCovariates.donor.codes).toBeUndefined();
  expect(numbers(request.continuousCovariates.age)).toEqual([2.5, 3.5]);
  expect(request.continuousCovariates.dose.shape).toEqual([]);
  expect(requestBytes(request).length).toBeGreaterThan(20);
});

test("unknown names are told when the file is checked, and never sent for encoding", () => {
  const plan = planOf(columns([[1, 2]], [0, -1], ["A"], ["Z"]));
  expect(encodeRequest(plan, 0, 1, { withExtra: true }).genes).toEqual(["A", "Z"]);
  expect(encodeRequest(plan, 0, 1).genes).toEqual(["A"]);
});

test.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])(
  "%d is no count, and is refused with the cell's name",
  (value) => {
    const sent = columns([[1], [value]], [0], ["A"]);
    expect(() => sentRows(planOf(sent), sent, 0, 2)).toThrow("cell-1");
  },
);

test("what is not sent need not be a count", () => {
  const sent = columns([[1, -1]], [0, -1], ["A"]);
  expect(Array.from(sentRows(planOf(sent), sent, 0, 1).data)).toEqual([1]);
});
