"""The conformance table of the Open Inference Protocol over HTTP: paths, errors, the binary extension, parameters."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import zstandard

from service.core.messages import Limits
from service.core.open_inference import OUTPUTS
from service.rest.app import build_app
from tests.inference_model import COUNTS, CSR, SPARSE, SPEC, TENSORS, encoder, raw
from tests.running_core import Core

INFER = "/v2/models/m/infer"
LENGTH = "Inference-Header-Content-Length"
LIMIT = 200_000


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    core = Core(tmp_path, encoder(), request_limits=Limits(max_request_bytes=LIMIT, max_request_cells=50))
    yield core
    await core.close()


@pytest.fixture
async def client(core: Core) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(core.engine), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


def tensor(name: str, datatype: str, values: Any) -> dict[str, Any]:
    shape = [len(values)] if isinstance(values, list) else list(values.shape)
    data = values if isinstance(values, list) else values.reshape(-1).tolist()
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def body(tensors: dict[str, tuple[str, Any]] = TENSORS, **members: Any) -> dict[str, Any]:
    """A JSON body."""
    return {"inputs": [tensor(name, *rest) for name, rest in tensors.items()]} | members


def binary(tensors: dict[str, tuple[str, Any]] = TENSORS, **members: Any) -> tuple[bytes, bytes]:
    """The JSON of a body and the bytes behind it."""
    fields, tail = body(tensors, **members), []
    for item, (_, values) in zip(fields["inputs"], tensors.values(), strict=True):
        tail.append(raw(values))
        del item["data"]
        item["parameters"] = {"binary_data_size": len(tail[-1])}
    return json.dumps(fields).encode(), b"".join(tail)


async def send_binary(client: httpx.AsyncClient, head: bytes, tail: bytes, length: Any = None) -> httpx.Response:
    headers = {LENGTH: str(len(head) if length is None else length)}
    return await client.post(INFER, content=head + tail, headers=headers)


def arrays(answer: httpx.Response) -> dict[str, np.ndarray]:
    """The outputs of an answer, whichever way each came."""
    assert answer.status_code == 200, answer.text
    length = answer.headers.get(LENGTH)
    end = len(answer.content) if length is None else int(length)
    head, found = json.loads(answer.content[:end]), {}
    for output in head["outputs"]:
        assert output["datatype"] == "FP32"
        if "parameters" in output:
            start, end = end, end + output["parameters"]["binary_data_size"]
            values = np.frombuffer(answer.content[start:end], "<f4")
        else:
            values = np.array(output["data"], dtype=np.float32)
        found[output["name"]] = values.reshape(output["shape"])
    assert end == len(answer.content)
    return found


def assert_error(answer: httpx.Response, status: int, fragment: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    assert list(answer.json()) == ["error"]
    assert fragment in answer.json()["error"]
    assert answer.headers["x-request-id"]


async def assert_well(client: httpx.AsyncClient) -> None:
    """After whatever came before, a good request gets its answer."""
    answer = arrays(await client.post(INFER, json=body()))
    mark = np.array([3 + 3 + 10 + 1000 + 0.75 + 10_000 * (0 + 2 * 2), 14 + 1600 + 1 + 10_000 * (1 + 2 * 2 + 3)])
    assert np.array_equal(answer["qz_mean"][:, 0], mark.astype(np.float32))


async def test_the_server_and_its_health(core: Core, client: httpx.AsyncClient) -> None:
    about = (await client.get("/v2")).json()
    assert about["name"] == "totalvi-serve" and about["version"]
    assert about["extensions"] == ["binary_tensor_data", "model_repository", "parameters"]
    for path, said in (("/v2/health/live", {"live": True}), ("/v2/health/ready", {"ready": True})):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()) == (200, said)

    core.health.mark_draining()
    assert (await client.get("/v2/health/live")).status_code == 200
    for path in ("/v2/health/ready", "/v2/models/m/ready"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
    core.health.mark_failed("gone")
    assert (await client.get("/v2/health/live")).status_code == 503


@pytest.mark.parametrize("path", ["/v2/models/m", "/v2/models/m/versions/1"])
async def test_a_model_is_described(client: httpx.AsyncClient, path: str) -> None:
    ready = await client.get(f"{path}/ready")
    assert (ready.status_code, ready.json()) == (200, {"name": "m", "ready": True})
    said = (await client.get(path)).json()
    assert (said["name"], said["versions"], said["platform"]) == ("m", ["1"], "pytorch_torchscript")
    inputs = {item["name"]: (item["datatype"], item["shape"]) for item in said["inputs"]}
    assert inputs == {
        "gene_counts": ("FP32", [-1, 5]),
        "gene_counts.data": ("FP32", [-1]),
        "gene_counts.indices": ("INT32", [-1]),
        "gene_counts.indptr": ("INT32", [-1]),
        "genes": ("BYTES", [-1]),
        "protein_counts": ("FP32", [-1, 2]),
        "proteins": ("BYTES", [-1]),
        "batch": ("BYTES", [-1]),
        "covariate.lane": ("BYTES", [-1]),
        "covariate.dose": ("BYTES", [-1]),
        "covariate.age": ("FP32", [-1]),
    }
    n = SPEC.n_latent
    shapes = {name: [-1, n] for name in ("qz_mean", "qz_variance", "z")}
    shapes |= {name: [-1] for name in ("ql_mean", "ql_variance", "library_observed", "library_latent")}
    shapes |= {
        "latent_z": [-1, -1, n],
        "latent_l": [-1, -1],
        "untran_latent_z": [-1, -1, n],
        "untran_latent_l": [-1, -1],
    }
    assert {item["name"]: item["shape"] for item in said["outputs"]} == shapes
    assert {item["datatype"] for item in said["outputs"]} == {"FP32"}
    assert shapes.keys() == OUTPUTS.keys()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/m/versions/9", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/models/m/versions/9/ready", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/m/versions/9/infer", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/", 404),
        ("GET", "/v2/models/m/config", 404),
        ("POST", "/v2", 405),
        ("POST", "/v2/health/live", 405),
        ("GET", INFER, 405),
        ("DELETE", "/v2/models/m", 405),
        ("GET", "/v2/repository/index", 405),
    ],
)
async def test_errors_of_paths(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await client.request(method, path, json=body() if path.endswith("infer") else None)
    assert_error(answer, status, "")
    await assert_well(client)


FORMS: dict[str, dict[str, tuple[str, Any]]] = {
    "dense": TENSORS,
    "sparse": SPARSE,
    **{
        name: TENSORS | {"gene_counts": (name, COUNTS.astype(dtype))}
        for name, dtype in {
            "UINT8": "u1",
            "UINT32": "u4",
            "UINT64": "u8",
            "INT8": "i1",
            "INT16": "i2",
            "INT32": "i4",
            "INT64": "i8",
            "FP16": "f2",
            "FP32": "f4",
            "FP64": "f8",
        }.items()
    },
    "small sparse": SPARSE | {name: ("UINT8", values.astype(np.uint8)) for name, (_, values) in CSR.items()},
    "labels for all": TENSORS | {"batch": ("BYTES", ["b"]), "covariate.age": ("FP64", np.array([0.25]))},
    "named": TENSORS
    | {
        "genes": ("BYTES", ["gene4", "other", "gene0"]),
        "gene_counts": ("UINT8", np.array([[1, 9, 2], [3, 9, 4]], np.uint8)),
        "proteins": ("BYTES", ["protein1"]),
        "protein_counts": ("UINT8", np.array([[1], [2]], np.uint8)),
    },
    "no cell": {
        name: (datatype, values[:0] if name.endswith("counts") else values[:1])
        for name, (datatype, values) in TENSORS.items()
    },
}


@pytest.mark.parametrize("form", FORMS)
async def test_every_form_gets_the_same(client: httpx.AsyncClient, form: str) -> None:
    tensors, options = FORMS[form], {"n_samples": 2, "seed": 2**64 - 1, "min_gene_coverage": 0}
    rows = body(tensors, parameters=options)
    for item in rows["inputs"]:
        if item["name"].endswith("_counts"):
            item["data"] = np.array(item["data"]).reshape(item["shape"]).tolist()
    flat = await client.post(INFER, json=body(tensors, parameters=options))
    answers = [
        flat,
        await client.post(INFER, json=rows),
        await send_binary(client, *binary(tensors, parameters=options)),
        await send_binary(client, *binary(tensors, parameters=options | {"binary_data_output": True})),
    ]
    assert flat.json()["parameters"]["seed"] == 2**64 - 1
    assert [LENGTH in answer.headers for answer in answers] == [False, False, False, True]
    assert answers[-1].headers["content-type"] == "application/octet-stream"
    first, *others = map(arrays, answers)
    assert list(first) == list(OUTPUTS)
    for other in others:
        assert first.keys() == other.keys()
        assert all(np.array_equal(first[name], other[name]) for name in first)
        assert all(first[name].shape == other[name].shape for name in first)
    if form not in ("labels for all", "named", "no cell"):
        dense = arrays(await client.post(INFER, json=body(parameters=options)))
        assert all(np.array_equal(first[name], dense[name]) for name in dense)


async def test_what_is_asked_for_comes_in_its_order_and_form(core: Core, client: httpx.AsyncClient) -> None:
    outputs = [
        {"name": "library_latent", "parameters": {"binary_data": True}},
        {"name": "qz_mean"},
        {"name": "latent_z", "parameters": {"binary_data": False}},
    ]
    for everywhere in (True, False):
        asked = body(outputs=outputs, id="a\nü" * 3000, parameters={"binary_data_output": everywhere, "seed": 1})
        answer = await client.post(INFER, json=asked)
        head = json.loads(answer.content[: int(answer.headers[LENGTH])])
        assert list(arrays(answer)) == ["library_latent", "qz_mean", "latent_z"]
        assert ["parameters" in output for output in head["outputs"]] == [True, everywhere, False]
        assert (head["id"], head["model_name"], head["model_version"]) == ("a\nü" * 3000, "m", "1")
        assert arrays(answer)["latent_z"].shape == (1, 2, SPEC.n_latent)
        phases = [part.partition(";")[0] for part in answer.headers["server-timing"].split(", ")]
        assert phases == ["decode", "queue", "compute", "encode"]
    assert core.recorder.outcomes == {"ok": 2}
    assert {call.n_cells for call, _ in core.recorder.finished} == {2}


async def test_samples_that_nobody_sees_are_not_drawn_and_warnings_are_told(client: httpx.AsyncClient) -> None:
    tensors = FORMS["named"]
    asked = body(tensors, outputs=[{"name": "z"}], parameters={"n_samples": 5, "min_gene_coverage": 0.0})
    answer = (await client.post(INFER, json=asked)).json()
    assert list(answer["parameters"]) == ["warnings"]
    codes = [warning["code"] for warning in json.loads(answer["parameters"]["warnings"])]
    assert codes == ["missing_genes", "extra_genes", "missing_proteins"]
    assert "id" not in answer


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
async def test_compressed_bodies(client: httpx.AsyncClient, encoding: str, compress: Callable[[bytes], bytes]) -> None:
    head, tail = binary()
    headers = {LENGTH: str(len(head)), "Content-Encoding": encoding}
    answer = await client.post(INFER, content=compress(head + tail), headers=headers)
    assert arrays(answer).keys()


async def test_a_body_may_name_the_model_of_its_path(client: httpx.AsyncClient) -> None:
    named = body(model_name="m", model_version="1", id=None, outputs=None, parameters=None)
    assert arrays(await client.post("/v2/models/m/versions/1/infer", json=named))
    answer = await client.post(INFER, json=named | {"model_name": "other"})
    assert_error(answer, 400, "model_name is another one than the path names")


async def test_labels_are_of_the_models_own_types(client: httpx.AsyncClient) -> None:
    for name, label in (("lane", "1.0"), ("lane", "01"), ("lane", " 1"), ("dose", "1"), ("dose", ".5"), ("lane", "x")):
        wrong = TENSORS | {f"covariate.{name}": ("BYTES", [label])}
        answer = await client.post(INFER, json=body(wrong))
        assert_error(answer, 400, f"covariate.{name} {label!r} is unknown to the model; allowed: ")


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        made = copy.deepcopy(body())
        change(made)
        return made

    return make


def of_genes(**members: Any) -> Callable[[], dict[str, Any]]:
    return changed(lambda made: made["inputs"][0].update(members))


def of_batch(**members: Any) -> Callable[[], dict[str, Any]]:
    return changed(lambda made: made["inputs"][2].update(members))


def given(**parameters: Any) -> Callable[[], dict[str, Any]]:
    return changed(lambda made: made.update(parameters=parameters))


def wanted(*outputs: Any) -> Callable[[], dict[str, Any]]:
    return changed(lambda made: made.update(outputs=list(outputs)))


def without(*names: str, **tensors: tuple[str, Any]) -> Callable[[], dict[str, Any]]:
    return lambda: body({name: rest for name, rest in (SPARSE | tensors).items() if name not in names})


BAD: dict[str, tuple[Callable[[], Any], int, str]] = {
    "no object": (lambda: [1], 400, "must be a JSON object"),
    "no inputs": (lambda: {}, 400, "inputs must be a list of objects"),
    "inputs are no list": (lambda: {"inputs": {}}, 400, "inputs must be a list of objects"),
    "no input at all": (lambda: {"inputs": []}, 400, "gene_counts is missing"),
    "an input is no object": (lambda: {"inputs": [1]}, 400, "inputs[0] must be an object"),
    "too many inputs": (lambda: {"inputs": [{}] * 1001}, 413, "1001 inputs"),
    "unknown member": (changed(lambda made: made.update(input=[])), 400, "input is not a known field"),
    "id is a number": (changed(lambda made: made.update(id=7)), 400, "id must be text"),
    "no name": (changed(lambda made: made["inputs"][0].pop("name")), 400, "inputs[0] has no name"),
    "no datatype": (changed(lambda made: made["inputs"][0].pop("datatype")), 400, "inputs[0] has no datatype"),
    "no shape": (changed(lambda made: made["inputs"][0].pop("shape")), 400, "inputs[0].shape must be a list"),
    "no data": (
        changed(lambda made: made["inputs"][0].pop("data")),
        400,
        "either data or the parameter binary_data_size",
    ),
    "given twice": (changed(lambda made: made["inputs"].append(made["inputs"][0])), 400, "gene_counts is given twice"),
    "unknown input": (of_genes(name="counts"), 400, "there is no input counts; there are gene_counts"),
    "covariate without key": (of_genes(name="covariate."), 400, "there is no input covariate."),
    "unknown datatype": (of_genes(datatype="FLOAT"), 400, "gene_counts: the datatype must be one of UINT8"),
    "BF16": (of_genes(datatype="BF16"), 400, "the datatype must be one of"),
    "BOOL": (of_genes(datatype="BOOL"), 400, "the datatype must be one of"),
    "counts as BYTES": (of_genes(datatype="BYTES"), 400, "the datatype must be one of"),
    "labels as numbers": (of_batch(datatype="INT32", data=[0, 1]), 400, "batch: the datatype must be one of BYTES"),
    "wrong rank": (of_genes(shape=[10]), 400, "gene_counts: the shape must have 2 axes, not 1"),
    "ninth axis": (of_genes(shape=[1] * 9), 400, "at most 8 whole numbers"),
    "negative axis": (of_genes(shape=[-2, -5]), 400, "each axis of the shape must be from 0"),
    "axis of 2^31": (of_genes(shape=[2**31, 0]), 400, "each axis of the shape must be from 0"),
    "axis of 2^63": (of_genes(shape=[2**63, 5]), 400, "each axis of the shape must be from 0"),
    "overflowing product": (of_genes(shape=[2**31 - 1, 2**31 - 1]), 400, "values, but there are 10"),
    "fractional axis": (of_genes(shape=[2.0, 5]), 400, "must hold whole numbers alone"),
    "true as axis": (of_genes(shape=[True, 10]), 400, "must hold whole numbers alone"),
    "shape of text": (of_genes(shape="2,5"), 400, "shape must be a list"),
    "short data": (of_genes(data=[1, 2]), 400, "the shape makes 10 values, but there are 2"),
    "long data": (of_genes(data=[1] * 11), 400, "the shape makes 10 values, but there are 11"),
    "rows of another shape": (of_genes(data=[[1, 2]] * 5), 400, "data has 5 rows of 2, not the shape"),
    "ragged rows": (of_genes(data=[[1] * 5, [1] * 4]), 400, "row 1 of gene_counts has 4 values"),
    "nested too deep": (of_genes(data=[[[1] * 5], [[1] * 5]]), 400, "gene_counts"),
    "rows in a vector": (of_batch(name="covariate.age", datatype="FP32", data=[[1], [2]]), 400, "numbers alone"),
    "text as data": (of_genes(data="1,2"), 400, "data must be a list"),
    "text among the data": (of_genes(data=[1, "2"] * 5), 400, "must hold whole numbers of 64 bits alone; item 1"),
    "null among the data": (of_genes(data=[None] * 10), 400, "whole numbers of 64 bits alone; item 0"),
    "true among the data": (of_genes(data=[True] * 10), 400, "whole numbers of 64 bits alone; item 0"),
    "fraction of a whole type": (of_genes(data=[0.5] * 10), 400, "whole numbers of 64 bits alone; item 0"),
    "fraction in rows of a whole type": (of_genes(data=[[0.5] * 5] * 2), 400, "holds a number that is no UINT16"),
    "over the type": (of_genes(data=[65536] * 10), 400, "gene_counts holds a number that is no UINT16"),
    "under the type": (of_genes(data=[-1] * 10), 400, "gene_counts holds a number that is no UINT16"),
    "negative count": (of_genes(datatype="INT16", data=[-1] * 10), 400, "negative count"),
    "infinite count": (of_genes(datatype="FP32", data=[1e300] * 10), 400, "not finite"),
    "wrong width": (of_genes(shape=[2, 4], data=[1] * 8), 400, "4 columns where 5 are expected"),
    "too many cells": (
        lambda: body(TENSORS | {"gene_counts": ("UINT8", np.zeros((51, 5), np.uint8))}),
        413,
        "max_request_cells",
    ),
    "labels that are no text": (of_batch(data=[1, 2]), 400, "batch: data must hold text alone; item 0 is none"),
    "nested labels": (of_batch(data=[["a", "b"]], shape=[1]), 400, "batch: data must hold text alone"),
    "too few labels": (of_batch(data=["a"]), 400, "batch: the shape makes 2 values, but there are 1"),
    "labels of three cells": (of_batch(data=["a"] * 3, shape=[3]), 400, "batch has 3 labels for 2 cells"),
    "no label": (of_batch(data=[], shape=[0]), 400, "batch has 0 labels for 2 cells"),
    "unknown label": (of_batch(data=["c", "a"]), 400, "batch 'c' is unknown to the model; allowed: 'a', 'b'"),
    "no batch": (without("batch"), 400, "the model needs batch"),
    "no covariate": (without("covariate.lane"), 400, "the model needs covariate.lane, one of 1, 2, 3"),
    "dense and sparse": (lambda: body(TENSORS | CSR), 400, "gene_counts is given both dense and sparse"),
    "no genes": (without(*CSR), 400, "gene_counts is missing"),
    **{f"no {part}": (without(part), 400, f"{part} is missing") for part in CSR},
    "column too large": (
        without(**{"gene_counts.indices": ("INT32", np.array([0, 2, 5, 1], np.int32))}),
        400,
        "gene_counts.indices has a column outside 0 to 4",
    ),
    "indptr decreases": (
        without(**{"gene_counts.indptr": ("INT32", np.array([0, 5, 4], np.int32))}),
        400,
        "gene_counts.indptr decreases",
    ),
    "indptr is empty": (
        without(**{"gene_counts.indptr": ("INT32", np.array([], np.int32))}),
        400,
        "gene_counts.indptr does not begin with 0",
    ),
    "indices of a real type": (
        without(**{"gene_counts.indices": ("FP32", np.array([0, 2, 4, 1], np.float32))}),
        400,
        "gene_counts.indices: the datatype must be one of",
    ),
    "gene twice": (
        lambda: body(TENSORS | {"genes": ("BYTES", ["gene0"] * 5)}),
        400,
        "gene 'gene0' occurs more than once",
    ),
    "unknown output": (wanted({"name": "qz"}), 400, "there is no output qz; there are qz_mean"),
    "output twice": (wanted({"name": "z"}, {"name": "z"}), 400, "z is asked for twice"),
    "output without name": (wanted({}), 400, "outputs[0] has no name"),
    "output is text": (wanted("z"), 400, "outputs[0] must be an object"),
    "classification": (
        wanted({"name": "z", "parameters": {"classification": 3}}),
        400,
        "classification is not a",
    ),
    "binary_data as text": (wanted({"name": "z", "parameters": {"binary_data": "yes"}}), 400, "must be true or false"),
    "parameters are a list": (changed(lambda made: made.update(parameters=[1])), 400, "parameters must be an object"),
    "unknown parameter": (given(n_sample=3), 400, "there is no parameter n_sample; there are n_samples"),
    "sequence": (given(sequence_id=3), 400, "there is no parameter sequence_id"),
    "parameter is a list": (given(seed=[1]), 400, "a parameter must be text, a number, true or false"),
    "parameter is null": (given(seed=None), 400, "a parameter must be text, a number, true or false"),
    "n_samples as text": (given(n_samples="3"), 400, "the parameter n_samples must be a whole number"),
    "n_samples as a fraction": (given(n_samples=3.0), 400, "the parameter n_samples must be a whole number"),
    "n_samples as true": (given(n_samples=True), 400, "the parameter n_samples must be a whole number"),
    "negative n_samples": (given(n_samples=-1), 400, "n_samples is negative"),
    "too many samples": (given(n_samples=1001), 413, "max_samples"),
    "negative seed": (given(seed=-1), 400, "seed is not in 0 to 2^64 - 1"),
    "negative first_cell": (given(first_cell=-1), 400, "first_cell is not in"),
    "coverage as text": (given(min_gene_coverage="0"), 400, "min_gene_coverage must be a number"),
    "coverage over 1": (given(min_gene_coverage=1.5), 400, "min_gene_coverage is not in 0 to 1"),
    "allow_non_integer as 1": (given(allow_non_integer=1), 400, "allow_non_integer must be true or false"),
    "negative timeout": (given(timeout=-1), 400, "timeout is not in 0"),
    "timeout as text": (given(timeout="1s"), 400, "the parameter timeout must be a whole number"),
    "negative priority": (given(priority=-1), 400, "priority is not in 0"),
    "priority as a fraction": (given(priority=0.5), 400, "the parameter priority must be a whole number"),
    "binary_data_output as 1": (given(binary_data_output=1), 400, "binary_data_output must be true or false"),
    "binary size, but no header": (
        changed(
            lambda made: (made["inputs"][0].pop("data"), made["inputs"][0].update(parameters={"binary_data_size": 20}))
        ),
        400,
        "Inference-Header-Content-Length is missing",
    ),
    "data and a binary size": (of_genes(parameters={"binary_data_size": 20}), 400, "either data or the parameter"),
    "shared memory": (of_genes(parameters={"shared_memory_region": "x"}), 400, "shared_memory_region is not a known"),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_bodies(core: Core, client: httpx.AsyncClient, case: str) -> None:
    make, status, fragment = BAD[case]
    assert_error(await client.post(INFER, json=make()), status, fragment)
    assert core.encoder.batch_sizes == []
    await assert_well(client)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xef\xbb\xbf{", "not valid JSON"),
        (b'{"id": "\xff"}', "not valid JSON"),
        (b'{"inputs": [], "inputs": []}', "inputs is given twice"),
        (b'{"inputs": [{"name": "z", "name": "z"}]}', "inputs[0].name is given twice"),
        (b'{"inputs": [{"data": ' + b"[" * 5000 + b"]" * 5000 + b"}]}", ""),
        (json.dumps(body()).encode().replace(b"[3, 0", b"[1e999, 0"), "not valid JSON"),
        (json.dumps(body()).encode().replace(b"[3, 0", b"[3, 7654321 0"), "not valid JSON"),
    ],
)
async def test_bodies_that_are_no_json(client: httpx.AsyncClient, content: bytes, fragment: str) -> None:
    assert_error(await client.post(INFER, content=content), 400, fragment)
    await assert_well(client)


@pytest.mark.parametrize(
    ("length", "fragment"),
    [
        ("abc", "must be a whole number of bytes"),
        ("-1", "must be a whole number of bytes"),
        ("1.0", "must be a whole number of bytes"),
        ("1" * 19, "must be a whole number of bytes"),
        ("", "must be a whole number of bytes"),
        (0, "not valid JSON"),
        (999_999, "Inference-Header-Content-Length is 999999, but the body has"),
    ],
)
async def test_header_lengths(client: httpx.AsyncClient, length: object, fragment: str) -> None:
    assert_error(await send_binary(client, *binary(), length=length), 400, fragment)
    await assert_well(client)


@pytest.mark.parametrize("by", [-1, 1])
async def test_a_header_length_that_is_off_by_one(client: httpx.AsyncClient, by: int) -> None:
    head, tail = binary()
    assert_error(await send_binary(client, head, tail, len(head) + by), 400, "not valid JSON")
    await assert_well(client)


@pytest.mark.parametrize(
    ("size", "fragment"),
    [
        (19, "shape and datatype make 20 bytes, but there are 19"),
        (21, "shape and datatype make 20 bytes, but there are 21"),
        (10**9, "binary_data_size is 1000000000, but"),
        (-1, "binary_data_size must be a number of bytes"),
        ("20", "binary_data_size must be a number of bytes"),
        (20.0, "binary_data_size must be a number of bytes"),
        (True, "binary_data_size must be a number of bytes"),
    ],
)
async def test_binary_data_sizes(client: httpx.AsyncClient, size: object, fragment: str) -> None:
    head, tail = binary()
    fields = json.loads(head)
    fields["inputs"][0]["parameters"]["binary_data_size"] = size
    assert_error(await send_binary(client, json.dumps(fields).encode(), tail), 400, fragment)
    await assert_well(client)


async def test_bytes_that_belong_to_nothing(client: httpx.AsyncClient) -> None:
    head, tail = binary()
    assert_error(await send_binary(client, head, tail + b"x"), 400, "1 bytes follow the binary data of the last input")
    everything = json.dumps(body()).encode()
    assert_error(await send_binary(client, everything, b"xy"), 400, "2 bytes follow the binary data of the last input")
    assert arrays(await send_binary(client, everything, b""))


@pytest.mark.parametrize(
    ("data", "fragment"),
    [
        (b"\x01\0\0\0a\x01\0\0\0", "batch: an element is longer than the bytes that are left"),
        (b"\x01\0\0\0a\xff\xff\xff\xffb", "batch: an element is longer than the bytes that are left"),
        (b"\x01\0\0\0a\x01\0", "batch: an element is longer than the bytes that are left"),
        (b"\x01\0\0\0a", "batch: the shape makes 2 values, but there are 1"),
        (b"\x01\0\0\0a" * 3, "batch: the shape makes 2 values, but there are 3"),
        (b"\x01\0\0\0a\x01\0\0\0\xff", "batch: an element is not valid UTF-8"),
    ],
)
async def test_binary_texts(client: httpx.AsyncClient, data: bytes, fragment: str) -> None:
    fields = body()
    del fields["inputs"][2]["data"]
    fields["inputs"][2]["parameters"] = {"binary_data_size": len(data)}
    assert_error(await send_binary(client, json.dumps(fields).encode(), data), 400, fragment)
    await assert_well(client)


async def test_limits_and_encodings(client: httpx.AsyncClient) -> None:
    blank = b" " * (LIMIT + 1)
    assert_error(await client.post(INFER, content=blank), 413, "max_request_bytes")
    packed = {"Content-Encoding": "gzip"}
    assert_error(await client.post(INFER, content=gzip.compress(blank), headers=packed), 413, "max_request_bytes")
    assert_error(await client.post(INFER, content=b"{}", headers=packed), 400, "not valid gzip")
    assert_error(await client.post(INFER, content=b"{}", headers={"Content-Encoding": "br"}), 415, "Content-Encoding")
    names = {"name": "genes", "datatype": "BYTES", "shape": [200_001], "data": []}
    assert_error(await client.post(INFER, json={"inputs": [names]}), 413, "genes has 200001 elements")
    await assert_well(client)


async def test_deadlines(client: httpx.AsyncClient, core: Core) -> None:
    for timeout in (0, 60_000_000, 2**64 - 1):
        assert arrays(await client.post(INFER, json=body(parameters={"timeout": timeout, "priority": 2**64 - 1})))
    asked = body(parameters={"timeout": 60_000_000})
    late = await client.post(INFER, json=asked, headers={"X-Request-Timeout-Ms": "0"})
    assert_error(late, 504, "the deadline passed")
    assert_error(await client.post(INFER, json=body(parameters={"timeout": 1})), 504, "the deadline passed")
    await assert_well(client)


async def test_a_server_that_has_not_started(core: Core, client: httpx.AsyncClient) -> None:
    core.health._started = False
    for method, path in (("GET", "/v2/models/m"), ("POST", INFER)):
        answer = await client.request(method, path, json=body())
        assert_error(answer, 503, "the models are still being loaded")
        assert answer.headers["retry-after"] == "1"


async def test_a_bug_tells_no_more_than_the_request_id(core: Core, client: httpx.AsyncClient) -> None:
    core.encoder.errors = [ZeroDivisionError("secret")]
    answer = await client.post(INFER, json=body(), headers={"X-Request-Id": "id-1"})
    assert_error(answer, 500, "the log has it under request id id-1")
    await assert_well(client)


async def test_the_repository(client: httpx.AsyncClient) -> None:
    index = [{"name": "m", "version": "1", "state": "READY", "reason": ""}]
    for content in (b"", b"{}", b'{"ready": true}'):
        answer = await client.post("/v2/repository/index", content=content)
        assert (answer.status_code, answer.json()) == (200, index)
    for content, fragment in (
        (b"{", "not valid JSON"),
        (b"[]", "at most the member ready"),
        (b'{"x": 1}', "at most the member ready"),
        (b'{"ready": 1}', "ready must be true or false"),
    ):
        assert_error(await client.post("/v2/repository/index", content=content), 400, fragment)
    for change in ("load", "unload"):
        path = f"/v2/repository/models/m/{change}"
        assert_error(await client.post(path), 403, "callers may not load or unload models here")
        assert_error(await client.post(path, json={"parameters": []}), 400, "parameters must be an object")
        assert_error(await client.post(path, json={"parameters": {"config": "{}"}}), 400, "has no parameter config")
        assert_error(await client.post(path, content=b" " * 70_000), 413, "larger than")
    answer = await client.post(path, json={"parameters": {"unload_dependents": False}})
    assert_error(answer, 403, "callers may not load or unload models here")
    await assert_well(client)
