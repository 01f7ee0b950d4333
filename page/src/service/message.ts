/** A plan's cells as the message of gRPC, which REST takes too: the smaller and quicker form. */

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { checkRows } from "../planning/check_rows";
import type { Labels, Plan, PlannedColumns } from "../planning/contract";
import type { CsrRows } from "../reading/contract";
import {
  type EncodeRequest,
  EncodeRequestSchema,
  type EncodeResponse,
  EncodeResponseSchema,
  type LabelSchema,
  type LabelsSchema,
  type Tensor,
  Tensor_DType,
  type TensorSchema,
  type ValidateResponse,
  ValidateResponseSchema,
} from "./stub/totalvi_v1_pb";
import type { LabelValue } from "./types";

type TensorInit = MessageInitShape<typeof TensorSchema>;
type LabelsInit = MessageInitShape<typeof LabelsSchema>;

/** What a request asks for beside its cells. */
export interface Asked {
  nSamples?: number;
  seed?: bigint;
  /** Names of the file that the model lacks, so that the service tells of them. */
  withExtra?: boolean;
}

/**
 * Cells `from` to `to` (exclusive) of a plan, over the columns that are sent, in their order.
 *
 * @throws InputError: what would be sent is no count.
 */
export function sentRows(plan: Plan, columns: PlannedColumns, from: number, to: number): CsrRows {
  const rows = columns.matrix.rows(from, to);
  const indptr = new Int32Array(rows.indptr.length);
  const indices = new Int32Array(rows.indices.length);
  const data = rows.data.slice();
  let n = 0;
  for (let row = 0; row + 1 < indptr.length; row++) {
    for (let entry = rows.indptr[row]; entry < rows.indptr[row + 1]; entry++) {
      const column = columns.target[rows.indices[entry]];
      if (column < 0 || rows.data[entry] === 0) continue;
      indices[n] = column;
      data[n++] = rows.data[entry];
    }
    indptr[row + 1] = n;
  }
  const nColumns = columns.names.length;
  const sent = { indptr, indices: indices.subarray(0, n), data: data.subarray(0, n), nColumns };
  checkRows(sent, from, plan.table, columns.place, plan.allowNonInteger);
  return sent;
}

/** The request for cells `from` to `to` (exclusive). */
export function encodeRequest(plan: Plan, from: number, to: number, asked: Asked = {}): EncodeRequest {
  const { nSamples, seed, withExtra } = asked;
  const request = create(EncodeRequestSchema, {
    genes: withExtra ? [...plan.genes.names, ...plan.genes.extra] : plan.genes.names,
    geneCounts: { form: { case: "csr", value: csr(sentRows(plan, plan.genes, from, to)) } },
    categoricalCovariates: mapped(plan.categorical, (labels) => labelsOf(labels, from, to)),
    continuousCovariates: mapped(plan.continuous, (numbers) =>
      numbers.kind === "one"
        ? tensor(Tensor_DType.F64, [], Float64Array.of(numbers.value))
        : tensor(Tensor_DType.F64, [to - from], numbers.values.slice(from, to)),
    ),
    nSamples: nSamples ?? 0,
    firstCell: BigInt(from),
    allowNonInteger: plan.allowNonInteger,
  });
  if (seed !== undefined) request.seed = seed;
  if (plan.proteins) {
    const names = plan.proteins.names;
    request.proteins = withExtra ? [...names, ...plan.proteins.extra] : names;
    const csrRows = csr(sentRows(plan, plan.proteins, from, to));
    request.proteinCounts = create(EncodeRequestSchema, {
      proteinCounts: { form: { case: "csr", value: csrRows } },
    }).proteinCounts!;
  }
  if (plan.batch) {
    request.batch = create(EncodeRequestSchema, { batch: labelsOf(plan.batch, from, to) }).batch!;
  }
  return request;
}

export function requestBytes(request: EncodeRequest): Uint8Array<ArrayBuffer> {
  return toBinary(EncodeRequestSchema, request) as Uint8Array<ArrayBuffer>;
}

export function encodeResponse(bytes: Uint8Array): EncodeResponse {
  return fromBinary(EncodeResponseSchema, bytes);
}

export function validateResponse(bytes: Uint8Array): ValidateResponse {
  return fromBinary(ValidateResponseSchema, bytes);
}

/** The numbers of an F32 tensor, which all answers are of. */
export function floats(answered: Tensor | undefined): Float32Array {
  if (answered === undefined || answered.dtype !== Tensor_DType.F32) throw new Error("the answer lacks a tensor");
  // A copy: where the bytes begin need not be a multiple of four.
  return new Float32Array(answered.data.slice().buffer);
}

function csr(rows: CsrRows): { indptr: TensorInit; indices: TensorInit; data: TensorInit } {
  const { indptr, indices, nColumns } = rows;
  const narrow = nColumns <= 1 << 16;
  return {
    indptr: tensor(Tensor_DType.I32, [indptr.length], indptr),
    indices: narrow
      ? tensor(Tensor_DType.U16, [indices.length], new Uint16Array(indices))
      : tensor(Tensor_DType.I32, [indices.length], indices),
    data: counts(rows.data),
  };
}

/** Counts in the smallest type that holds all of them exactly. */
function counts(data: Float32Array | Float64Array): TensorInit {
  let largest = 0;
  let whole = true;
  for (let at = 0; at < data.length; at++) {
    const value = data[at];
    if (!(value >= 0 && Math.floor(value) === value)) whole = false;
    else if (value > largest) largest = value;
  }
  const shape = [data.length];
  if (whole && largest < 1 << 8) return tensor(Tensor_DType.U8, shape, new Uint8Array(data));
  if (whole && largest < 1 << 16) return tensor(Tensor_DType.U16, shape, new Uint16Array(data));
  return data instanceof Float32Array ? tensor(Tensor_DType.F32, shape, data) : tensor(Tensor_DType.F64, shape, data);
}

function tensor(dtype: Tensor_DType, shape: number[], values: ArrayBufferView): TensorInit {
  const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength) as Uint8Array<ArrayBuffer>;
  return { dtype, shape: shape.map(BigInt), data };
}

function labelsOf(labels: Labels, from: number, to: number): LabelsInit {
  if (labels.kind === "one") return { categories: [labelOf(labels.value)] };
  const codes = labels.codes.slice(from, to);
  return { categories: labels.categories.map(labelOf), codes: tensor(Tensor_DType.I32, [to - from], codes) };
}

function labelOf(value: LabelValue): MessageInitShape<typeof LabelSchema> {
  if (typeof value === "string") return { value: { case: "stringValue", value } };
  if (typeof value === "boolean") return { value: { case: "boolValue", value } };
  if (Number.isSafeInteger(value)) return { value: { case: "intValue", value: BigInt(value) } };
  return { value: { case: "doubleValue", value } };
}

function mapped<In, Out>(record: Record<string, In>, one: (value: In) => Out): Record<string, Out> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, one(value)]));
}
