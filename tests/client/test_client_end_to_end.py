"""The clients against a real server: one table for both of them over both transports."""

from __future__ import annotations

import concurrent.futures
import inspect
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from service.version import installed_version
from tests.client.asked import answered, given, of_all, of_cells, slices
from tests.client.conftest import MAX_REQUEST_CELLS
from tests.client.flaky import Flaky
from tests.client.ways import Way, open_way
from tests.end_to_end import synthetic
from tests.end_to_end.asking import Answer, Ask
from tests.end_to_end.clients import RestCaller
from tests.end_to_end.operators import gauges, until
from tests.end_to_end.server import PATIENCE_S, RunningServer
from tests.end_to_end.synthetic import assert_same_bits
from tests.end_to_end.test_overload import FILLING, HELD, waiting
from tests.saves import ROOT
from totalvi_client import (
    AsyncClient,
    Client,
    InputError,
    Invalid,
    Limits,
    NotFound,
    Overloaded,
    Retry,
    ServiceError,
    TooLarge,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    joined,
)
from totalvi_client.errors import DeadlineExceeded

CELLS = synthetic.cells(50, seed=3).but(
    version="1", cells=[f"cell-{number % 40}" for number in range(50)], options={"n_samples": 3, "seed": 11}
)


@pytest.fixture(scope="session")
def by_hand(service: RunningServer) -> Iterator[RestCaller]:
    with RestCaller(service.http_port) as caller:
        yield caller


@pytest.fixture(scope="session")
def right(by_hand: RestCaller) -> Answer:
    """What `/v1` answers to JSON."""
    return by_hand.encode(CELLS)


def assert_same(found: Answer, expected: Answer) -> None:
    assert_same_bits(found, expected)
    assert found.facts == expected.facts
    assert found.warnings == expected.warnings


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "rows": lambda counts: counts.tolist(),
    "int64": lambda counts: counts.astype(np.int64),
    "float32": lambda counts: counts.astype(np.float32),
    "fortran": lambda counts: np.asfortranarray(counts.astype(np.float64)),
    "csr": lambda counts: sp.csr_matrix(counts.astype(np.float32)),
    "csc": sp.csc_matrix,
    "coo": sp.coo_array,
    "view": lambda counts: sp.csr_matrix(np.vstack([counts, counts]))[len(counts) :],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_counts_gives_the_bits_of_v1_by_hand(client: Way, right: Answer, form: str) -> None:
    counts = {name: FORMS[form](getattr(CELLS, name)) for name in ("gene_counts", "protein_counts")}
    assert_same(answered(client.encode(**given(CELLS) | counts)), right)


def test_a_data_frame_brings_its_names_and_categoricals_their_labels(client: Way, right: Answer) -> None:
    order = np.random.default_rng(0).permutation(len(CELLS.genes or ()))
    frame = pd.DataFrame(CELLS.gene_counts, columns=CELLS.genes).iloc[:, order]
    proteins = pd.DataFrame(CELLS.protein_counts, columns=CELLS.proteins)
    asked = given(CELLS) | {"gene_counts": frame, "protein_counts": proteins, "genes": None, "proteins": None}
    asked["batch"] = pd.Categorical(CELLS.batch, categories=["unused", "b1", "b0"])
    asked["categorical_covariates"] = {key: pd.Series(labels) for key, labels in CELLS.categorical.items()}
    asked["cells"] = pd.Index(CELLS.cells)
    assert_same(answered(client.encode(**asked)), right)


@pytest.mark.parametrize("in_flight", [1, 3])
def test_slices_put_together_are_the_unsplit_call(client: Way, right: Answer, in_flight: int) -> None:
    cut = slices(CELLS, [1, 8, 8, 30])
    found = list(client.encode_stream(iter(cut), in_flight=in_flight, **of_all(CELLS)))
    assert [one.n_cells for one in found] == [1, 7, 0, 22, 20]
    assert_same(answered(joined(found)), right)


def test_a_stream_without_a_seed_has_one_for_all_its_slices(client: Way, by_hand: RestCaller) -> None:
    asked = of_all(CELLS) | {"seed": None, "first_cell": 5}
    found = joined(list(client.encode_stream(slices(CELLS, [20, 30]), **asked)))
    assert found.samples is not None
    options = {"n_samples": 3, "seed": found.samples.seed, "first_cell": 5}
    assert_same(answered(found), by_hand.encode(CELLS.but(options=options)))


def test_a_matrix_over_the_limits_is_sent_in_parts(client: Way, by_hand: RestCaller) -> None:
    """gRPC learns of the limit from a refusal, and knows it the second time."""
    n_cells = 3 * MAX_REQUEST_CELLS + 100
    names = list(map(str, range(n_cells)))
    ask = synthetic.cells(n_cells, seed=5).but(options={"n_samples": 2, "seed": 3}, cells=names)
    parts = [
        by_hand.encode(ask.part(slice(start, start + 250)).but(options={**ask.options, "first_cell": start}))
        for start in range(0, n_cells, 250)
    ]
    of_parts = {
        name: np.concatenate([part.arrays[name] for part in parts], axis=int("latent_" in name))
        for name in parts[0].arrays
    }
    for _ in range(2):
        found = client.encode(**given(ask))
        assert (found.n_cells, found.cells) == (n_cells, tuple(names))
        assert found.warnings == joined(list(client.encode_stream(slices(ask, [300]), **of_all(ask)))).warnings
        assert_same_bits(answered(found), Answer(of_parts, {}, [], {}))
    assert client.validate(**given(ask)).n_cells == n_cells
    # So is a slice.
    (alone,) = client.encode_stream(slices(ask, []), **of_all(ask))
    assert_same_bits(answered(alone), answered(found))


def test_the_version_is_found_once(client: Way) -> None:
    asked = of_all(CELLS) | {"version": None}
    assert {one.model_version for one in client.encode_stream(slices(CELLS, [20]), **asked)} == {"2"}


def test_what_is_asked_for_is_there_and_nothing_else(client: Way) -> None:
    found = client.encode(**given(CELLS) | {"outputs": ["z"], "n_samples": 0, "cells": None})
    assert found.z is not None
    assert (found.qz, found.ql, found.library, found.samples, found.cells) == (None,) * 5
    assert found.z.flags.writeable
    assert found.timing.keys() == {"decode", "queue", "compute", "encode"}


def test_the_server_logs_the_call_under_the_id_that_the_result_has(client: Way, service: RunningServer) -> None:
    found = client.encode(**given(CELLS))
    service.wait_for_record(lambda record: record.get("request_id") == found.request_id)


def cut_counts(value: float) -> np.ndarray:
    counts = CELLS.gene_counts.astype(float)
    counts[4, 7] = value
    return counts


LOGGED = np.log1p(CELLS.gene_counts)
REFUSALS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "log-normalised": ({"gene_counts": LOGGED}, Invalid, "log-normalised"),
    "negative": ({"gene_counts": cut_counts(-1)}, Invalid, "first in cell 4"),
    "not finite": ({"gene_counts": cut_counts(np.nan)}, Invalid, "not finite"),
    "too high": ({"gene_counts": cut_counts(2.0**40)}, Invalid, "no cell has"),
    "unknown batch": ({"batch": "b9"}, Invalid, "allowed: 'b0', 'b1'"),
    "no batch": ({"batch": None}, Invalid, "the model needs batch"),
    "a text for a number": (
        {"categorical_covariates": {**CELLS.categorical, "lane": "1"}},
        Invalid,
        "allowed: 1, 2, 3",
    ),
    "a number that is none": ({"continuous_covariates": {"age": np.nan}}, Invalid, "not finite"),
    "other genes": ({"genes": [f"ENSG{i:011d}" for i in range(40)]}, Invalid, "Ensembl"),
    "duplicate genes": ({"genes": ["GENE0"] * 40}, Invalid, "more than once"),
    "too few names": ({"genes": ["GENE0"], "min_gene_coverage": 0}, Invalid, "40 columns where 1 are expected"),
    "no such model": ({"model": "nobody", "version": None}, NotFound, "served: 'pbmc', 'synthetic'"),
    "no such version": ({"version": 7}, NotFound, "served: '1', '2'"),
    "too many samples": ({"n_samples": 1001}, TooLarge, "max_samples = 1000"),
    "a label that is missing": ({"batch": ["b0", None] * 25}, InputError, "batch of cell 1 is missing"),
    "labels of other cells": ({"batch": ["b0"] * 49}, InputError, "49 labels for 50 cells"),
    "no matrix": ({"gene_counts": [1, 2, 3]}, InputError, "matrix"),
    "an unknown output": ({"outputs": ["umap"]}, InputError, "umap"),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("method", ["encode", "validate", "encode_stream"])
def test_refusals(client: Way, service: RunningServer, name: str, method: str) -> None:
    changes, kind, message = REFUSALS[name]
    asked = given(CELLS) | changes
    with pytest.raises(kind, match=message) as caught:
        if method == "encode_stream":
            belongs = of_cells(CELLS).keys()
            cut = [type(slices(CELLS, [])[0])(**{key: asked[key] for key in belongs})]
            list(client.encode_stream(cut, **{key: value for key, value in asked.items() if key not in belongs}))
        else:
            getattr(client, method)(**asked)
    error = caught.value
    if isinstance(error, ServiceError):
        assert error.code == kind.code_of_class  # type: ignore[attr-defined]
        assert error.request_id is not None
        service.wait_for_record(lambda record: record.get("request_id") == error.request_id)
        assert f"(request {error.request_id})" in str(error)


def test_a_check_tells_what_meets(client: Way) -> None:
    genes = [*(CELLS.genes or ())[:30], *(f"OTHER{number}" for number in range(10))]
    found = client.validate(**given(CELLS) | {"genes": genes})
    assert (found.model, found.model_version, found.n_cells) == ("synthetic", "1", 50)
    assert (found.genes.given, found.genes.known, found.genes.missing, found.genes.extra) == (40, 30, 10, 10)
    assert (found.genes.coverage, found.proteins.coverage) == (0.75, 1.0)
    assert [notice.code for notice in found.warnings] == [
        "missing_genes",
        "extra_genes",
        "untrained_library_encoder",
    ]


def test_cards_are_the_same_by_every_way(client: Way, service: RunningServer) -> None:
    with open_way("rest", service.http_port, 0) as other:
        assert client.models() == other.models()
    pbmc, model = client.models()
    assert (pbmc.name, model.name, model.version, model.versions) == ("pbmc", "synthetic", "2", ("1", "2"))
    assert client.model("synthetic", 1) == client.model("synthetic", "1")
    assert (model.ready, len(model.sha256), model.n_latent) == (True, 64, 4)
    assert (list(model.genes), list(model.proteins)) == (synthetic.RECIPE.genes, synthetic.RECIPE.proteins)
    assert model.batch is not None
    assert (model.batch.key, model.batch.categories) == ("batch", ("b0", "b1"))
    fields = [(field.key, field.categories) for field in model.categorical_covariates]
    assert fields == [("donor", ("d1", "d2")), ("lane", (1, 2, 3))]
    assert model.continuous_covariates == ("age",)
    assert {type(label) for label in model.categorical_covariates[1].categories} == {int}
    with pytest.raises(NotFound, match="pbmc, synthetic"):
        client.model()
    with pytest.raises(NotFound):
        client.model("nobody")


def test_limits_are_told_by_rest_and_learned_by_grpc(client: Way, way: str) -> None:
    told = Limits(max_request_cells=MAX_REQUEST_CELLS)
    assert client.limits() == (told if way.startswith("rest") else Limits())
    client.encode(**given(synthetic.cells(MAX_REQUEST_CELLS + 1)))
    assert client.limits() == told


def test_the_example_cells(client: Way, by_hand: RestCaller) -> None:
    cells = json.loads((ROOT / "examples" / "request.json").read_text())
    counts = cells.pop("gene_counts")
    shape = (len(cells["cells"]), len(cells["genes"]))
    matrix = sp.csr_matrix((np.array(counts["data"], np.float32), counts["indices"], counts["indptr"]), shape)
    asked = Ask(
        "pbmc", None, matrix.toarray().astype(int), np.array(cells.pop("protein_counts")), outputs=None, **cells
    )
    assert_same(answered(client.encode(**given(asked) | {"gene_counts": matrix})), by_hand.encode(asked))


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_threads_may_share_a_client(service: RunningServer, right: Answer, kind: str) -> None:
    with (
        Client(f"{kind}://127.0.0.1:{getattr(service, f'{kind}_port')}") as client,
        concurrent.futures.ThreadPoolExecutor(8) as threads,
    ):
        calls = [threads.submit(client.encode, **given(CELLS)) for _ in range(24)]
        for call in calls:
            assert_same(answered(call.result(PATIENCE_S)), right)


def test_a_connection_is_used_again(way: str, service: RunningServer) -> None:
    with Flaky(service.http_port) as http, Flaky(service.grpc_port) as grpc:
        with open_way(way, http.port, grpc.port) as client:
            for _ in range(5):
                client.encode(**given(CELLS))
        assert http.n_connections + grpc.n_connections == 1


def test_a_connection_that_breaks_is_made_anew_and_the_call_again(
    way: str, service: RunningServer, right: Answer
) -> None:
    """Its pauses are real: gRPC takes its time to connect anew."""
    retry = Retry(attempts=10)
    with (
        Flaky(service.http_port) as http,
        Flaky(service.grpc_port) as grpc,
        open_way(way, http.port, grpc.port, retry=retry) as client,
    ):
        client.models()
        wire = http if way.startswith("rest") else grpc
        wire.arm(1)
        assert_same(answered(client.encode(**given(CELLS))), right)
        assert wire.breaks == 0
        wire.arm(2)
        found = joined(list(client.encode_stream(slices(CELLS, [10, 20, 30, 40]), **of_all(CELLS))))
        assert_same(answered(found), right)
        assert wire.breaks == 0
    with (
        Flaky(service.http_port) as http,
        Flaky(service.grpc_port) as grpc,
        open_way(way, http.port, grpc.port, retry=Retry(attempts=1)) as once,
    ):
        for wire in (http, grpc):
            wire.arm(1)
        with pytest.raises(Unreachable):
            once.encode(**given(CELLS))


def test_nobody_there(way: str) -> None:
    pauses: list[float] = []
    with (
        open_way(way, 9, 9, on_pause=pauses.append, retry=Retry(attempts=3)) as client,
        pytest.raises(Unreachable, match=r"\(request [0-9a-f]{32}\)"),
    ):
        client.encode(**given(CELLS))
    assert len(pauses) == 2


def test_a_server_that_takes_calls_and_never_answers(way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        with open_way(way, port, port, on_pause=pytest.fail) as client:
            begun = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                client.encode(**given(CELLS), timeout=0.3)
            assert time.monotonic() - begun < PATIENCE_S


def test_the_wrong_port(way: str, service: RunningServer) -> None:
    """REST at the gRPC port and the other way round: an error that names the address as the matter."""
    with (
        open_way(way, service.grpc_port, service.http_port, on_pause=lambda _: None) as client,
        pytest.raises((Unreachable, UnexpectedAnswer)),
    ):
        client.models()


def test_the_version_of_the_service_is_told(client: Way) -> None:
    assert client.server_version() == installed_version()


@pytest.mark.parametrize("name", ["encode", "validate", "encode_stream", "models", "model", "limits", "server_version"])
def test_both_clients_take_the_same_arguments(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(kind, name)).parameters for kind in (Client, AsyncClient))
    assert list(ours) == list(theirs)
    assert [one.default for one in ours.values()] == [one.default for one in theirs.values()]


@pytest.fixture(scope="module")
def loading(synthetic_models: Path) -> Iterator[RunningServer]:
    """Listens, and its models are never ready."""
    program = (sys.executable, "-m", "tests.end_to_end.faulty_server")
    with RunningServer(synthetic_models, program=program, environ={"FAULTY_WARMING": "1"}) as running:
        yield running.wait_until_listening()


# gRPC's port refuses connections until then, which is asked again as such.
@pytest.mark.parametrize("way", ["rest", "rest-async"])
def test_a_server_that_is_not_ready_is_asked_again_but_not_for_ever(way: str, loading: RunningServer) -> None:
    pauses: list[float] = []
    retry = Retry(attempts=3)
    with open_way(way, loading.http_port, loading.grpc_port, on_pause=pauses.append, retry=retry) as client:
        with pytest.raises(Unavailable) as caught:
            client.encode(**given(CELLS))
        assert len(pauses) == 2
        assert caught.value.retry_after_s is not None
        assert min(pauses) >= caught.value.retry_after_s
        with pytest.raises(Unavailable):
            list(client.encode_stream(slices(CELLS, [20]), **of_all(CELLS)))
        assert len(pauses) == 4


def test_a_closed_client_says_so(way: str, service: RunningServer) -> None:
    with open_way(way, service.http_port, service.grpc_port) as client:
        client.close()
        with pytest.raises(InputError, match="closed"):
            client.models()


@pytest.fixture(scope="module")
def held(synthetic_models: Any) -> Iterator[RunningServer]:
    """Computes nothing until a cell comes that fills its batch; its queue is for 8 cells."""
    with RunningServer(synthetic_models, *HELD) as running:
        yield running.wait_until_ready()


FILLING_TWICE = FILLING.but(
    gene_counts=np.vstack([FILLING.gene_counts] * 2),
    protein_counts=np.vstack([FILLING.protein_counts] * 2),
    batch=list(FILLING.batch) * 2,  # type: ignore[arg-type]
    categorical={key: list(labels) * 2 for key, labels in FILLING.categorical.items()},  # type: ignore[arg-type]
    continuous={key: np.tile(numbers, 2) for key, numbers in FILLING.continuous.items()},
)


def test_a_full_queue_is_asked_again_after_the_time_that_it_names(way: str, held: RunningServer) -> None:
    pauses: list[float] = []

    def drain(seconds: float) -> None:
        pauses.append(seconds)
        caller.encode(FILLING)

    with RestCaller(held.http_port) as caller, concurrent.futures.ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(caller.encode, waiting(n)) for n in (5, 2)]
        assert until(lambda: gauges(held)["totalvi_queue_cells"] == 7)
        with open_way(way, held.http_port, held.grpc_port, retry=Retry(attempts=1)) as once:
            with pytest.raises(Overloaded, match="the queue is full") as caught:
                once.encode(**given(FILLING_TWICE))
            assert caught.value.retry_after_s is not None
        with open_way(way, held.http_port, held.grpc_port, on_pause=drain) as client:
            assert client.encode(**given(FILLING_TWICE)).n_cells == 2
        for call in calls:
            call.result(PATIENCE_S)
    assert len(pauses) == 1
    assert pauses[0] >= caught.value.retry_after_s


def test_a_deadline_ends_the_call_here_and_there(way: str, held: RunningServer) -> None:
    with open_way(way, held.http_port, held.grpc_port) as client:
        with pytest.raises(DeadlineExceeded) as caught:
            client.encode(**given(waiting(2)), timeout=0.3)
        assert caught.value.request_id is not None
        assert until(lambda: gauges(held)["totalvi_queue_cells"] == 0)
        assert client.encode(**given(FILLING)).n_cells == 1
