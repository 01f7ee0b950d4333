"""The real saves through the real server: scvi-tools' numbers, and the same bits however they are asked for."""

from __future__ import annotations

import concurrent.futures
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from service.protobuf.stubs import totalvi_v1_pb2 as pb
from tests.end_to_end.asking import Answer, Ask
from tests.end_to_end.clients import GrpcCaller, RestCaller, RestProtobufCaller
from tests.end_to_end.conftest import SHARED_NAMES
from tests.end_to_end.operators import metrics
from tests.end_to_end.queries import Query, read_query
from tests.end_to_end.server import PATIENCE_S, RunningServer
from tests.end_to_end.synthetic import assert_same_bits
from tests.saves import SHARED_SAVES

pytestmark = pytest.mark.shared_data

N_THREADS = 16

CROWD_CELLS = 24
"""A request has at most half of a batch, so that a batch of more than that holds several."""

SEED = 2**63 + 12345
"""Over what a float64 holds: JSON must not bend it."""

SAMPLE_NAMES = ("latent_z", "latent_l", "untran_latent_z", "untran_latent_l")


Encode: TypeAlias = Callable[[Ask], Answer]

CALLERS = ("rest-dense", "rest-csr", "grpc-dense", "grpc-csr", "rest-protobuf-dense", "rest-protobuf-csr")


def callers_of(*transports: RestCaller | GrpcCaller) -> dict[str, Encode]:
    """Every transport, each with both forms of counts."""

    def sparsely(encode: Encode) -> Encode:
        return lambda ask: encode(ask.sparse())

    ways = [way for caller in transports for way in (caller.encode, sparsely(caller.encode))]
    return dict(zip(CALLERS, ways, strict=True))


@pytest.fixture(scope="module")
def callers(rest: RestCaller, rpc: GrpcCaller, rest_protobuf: RestProtobufCaller) -> dict[str, Encode]:
    return callers_of(rest, rpc, rest_protobuf)


@pytest.fixture(scope="module")
def crowded(models: Path) -> Iterator[RunningServer]:
    """A server of small batches that waits for company: what is sent to it is sliced and mixed."""
    flags = ("--max-batch-cells", CROWD_CELLS, "--max-delay-ms", "5", "--drain-delay-s", "0")
    with RunningServer(models, *flags) as running:
        yield running.wait_until_ready()


@pytest.fixture(scope="module")
def crowded_callers(crowded: RunningServer) -> Iterator[dict[str, Encode]]:
    with (
        RestCaller(crowded.http_port) as rest,
        GrpcCaller(crowded.grpc_port) as rpc,
        RestProtobufCaller(crowded.http_port) as rest_protobuf,
    ):
        yield callers_of(rest, rpc, rest_protobuf)


@pytest.fixture(scope="module", params=SHARED_NAMES)
def query(request: pytest.FixtureRequest, rpc: GrpcCaller) -> Query:
    """A save's cells, their columns in the model's order."""
    query = read_query(SHARED_SAVES / request.param, request.param)
    card = rpc.stub.GetModel(pb.GetModelRequest(model=request.param), timeout=PATIENCE_S)
    ask = query.ask
    assert sorted(card.genes) == sorted(ask.genes)
    assert sorted(card.proteins) == sorted(ask.proteins)
    genes = [ask.genes.index(name) for name in card.genes]
    proteins = [ask.proteins.index(name) for name in card.proteins]
    known = ask.but(
        categorical={field.key: ask.categorical[field.key] for field in card.categorical_covariates},
        continuous={key: ask.continuous[key] for key in card.continuous_covariates},
    )
    return Query(_with_columns(known, np.array(genes), np.array(proteins)), query.reference)


@pytest.fixture(scope="module")
def whole(query: Query, callers: dict[str, Encode]) -> Answer:
    """The answer to all cells at once."""
    return callers["rest-dense"](query.ask)


def _with_columns(ask: Ask, genes: np.ndarray, proteins: np.ndarray) -> Ask:
    """The same counts with the columns in another order."""
    return ask.but(
        gene_counts=np.ascontiguousarray(ask.gene_counts[:, genes]),
        protein_counts=np.ascontiguousarray(ask.protein_counts[:, proteins]),
        genes=[ask.genes[i] for i in genes],
        proteins=[ask.proteins[i] for i in proteins],
    )


def unnamed(ask: Ask) -> Ask:
    return ask.but(genes=None, proteins=None)


def backwards(ask: Ask) -> Ask:
    return _with_columns(ask, np.arange(len(ask.genes))[::-1], np.arange(len(ask.proteins))[::-1])


def with_extras(ask: Ask) -> Ask:
    """With columns that the model does not know, filled, anywhere between its own."""
    rng = np.random.default_rng(5)

    def mixed(counts: np.ndarray, names: list[str], n_extra: int) -> tuple[np.ndarray, list[str]]:
        extra = rng.poisson(3.0, size=(len(counts), n_extra)).astype(counts.dtype)
        order = rng.permutation(len(names) + n_extra)
        wide = np.concatenate([counts, extra], axis=1)[:, order]
        all_names = [*names, *(f"extra-{i}" for i in range(n_extra))]
        return np.ascontiguousarray(wide), [all_names[i] for i in order]

    gene_counts, genes = mixed(ask.gene_counts, list(ask.genes), 150)
    protein_counts, proteins = mixed(ask.protein_counts, list(ask.proteins), 7)
    return ask.but(gene_counts=gene_counts, genes=genes, protein_counts=protein_counts, proteins=proteins)


def without_silent_genes(ask: Ask) -> Ask:
    """Without the genes that no cell here expresses, of which the model's rule is that they count 0."""
    return _with_columns(ask, np.flatnonzero(ask.gene_counts.any(axis=0)), np.arange(len(ask.proteins)))


COLUMNS = {
    "model-order": lambda ask: ask,
    "unnamed": unnamed,
    "backwards": backwards,
    "with-extras": with_extras,
    "without-silent-genes": without_silent_genes,
}


def assert_reference(answer: Answer, query: Query) -> None:
    for name, values in query.reference.items():
        np.testing.assert_allclose(answer.arrays[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


def joined(parts: list[Answer]) -> Answer:
    """Answers to consecutive cells as one."""
    arrays = {
        name: np.concatenate([part.arrays[name] for part in parts], axis=1 if name in SAMPLE_NAMES else 0)
        for name in parts[0].arrays
    }
    return Answer(arrays, parts[0].facts, [], {})


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("caller", CALLERS)
def test_all_cells_in_one_request(
    query: Query, callers: dict[str, Encode], whole: Answer, caller: str, columns: str
) -> None:
    answer = callers[caller](COLUMNS[columns](query.ask))

    assert_reference(answer, query)
    assert_same_bits(answer, whole)
    assert answer.facts["cells"] == query.ask.cells
    assert answer.facts["n_cells"] == len(query.ask.cells)
    np.testing.assert_array_equal(answer.arrays["library_observed"], query.ask.gene_counts.sum(axis=1))


def test_what_does_not_fit_is_reported_the_same_way(query: Query, callers: dict[str, Encode]) -> None:
    ask = with_extras(without_silent_genes(query.ask)).but(outputs=["qz"])
    warnings = [callers[caller](ask).warnings for caller in CALLERS]

    assert warnings.count(warnings[0]) == len(CALLERS)
    n_silent = len(query.ask.genes) - len(without_silent_genes(query.ask).genes)
    counts = {warning["code"]: warning["count"] for warning in warnings[0]}
    assert counts == {"extra_genes": 150, "extra_proteins": 7} | ({"missing_genes": n_silent} if n_silent else {})


@pytest.mark.parametrize("caller", CALLERS)
def test_cell_by_cell(query: Query, callers: dict[str, Encode], whole: Answer, caller: str) -> None:
    encode = callers[caller]
    answer = joined([encode(query.ask.part(slice(i, i + 1))) for i in range(len(query.ask.cells))])

    assert_reference(answer, query)
    assert_same_bits(answer, whole)


def ask_from_many_threads(query: Query, callers: dict[str, Encode]) -> list[Answer]:
    """Every cell once from each of 16 threads, in pieces of random sizes, each sent in a random way."""
    forms = {name: change(query.ask) for name, change in COLUMNS.items()}
    start = threading.Barrier(N_THREADS)

    def ask_all(seed: int) -> Answer:
        rng = np.random.default_rng(seed)
        n_cells, begin, parts = len(query.ask.cells), 0, []
        start.wait(PATIENCE_S)
        while begin < n_cells:
            end = begin + int(rng.choice([1, 2, 7, 16, 33]))
            encode = callers[rng.choice(CALLERS)]
            parts.append(encode(forms[rng.choice(list(COLUMNS))].part(slice(begin, end))))
            begin = end
        return joined(parts)

    with concurrent.futures.ThreadPoolExecutor(N_THREADS) as threads:
        return list(threads.map(ask_all, range(N_THREADS), timeout=2 * PATIENCE_S))


def test_sixteen_threads_at_once(query: Query, callers: dict[str, Encode], whole: Answer) -> None:
    for answer in ask_from_many_threads(query, callers):
        assert_reference(answer, query)
        assert_same_bits(answer, whole)


def test_sixteen_threads_whose_cells_are_sliced_and_mixed(
    query: Query, crowded: RunningServer, crowded_callers: dict[str, Encode], whole: Answer
) -> None:
    answers = ask_from_many_threads(query, crowded_callers)

    for answer in answers:
        assert_same_bits(answer, whole)
    found = metrics(crowded)
    up_to_16, up_to_32, all_batches = (found["totalvi_batch_cells_bucket", size] for size in ("16.0", "32.0", "+Inf"))
    assert up_to_16 < up_to_32 == all_batches, "no batch held several requests"


@pytest.mark.parametrize("first_cell", [0, 2**40], ids=["from-the-start", "far-inside"])
def test_samples_do_not_depend_on_the_split_nor_on_the_transport(
    query: Query, callers: dict[str, Encode], first_cell: int
) -> None:
    def sampled(ask: Ask, first_cell: int) -> Ask:
        return ask.but(outputs=["samples"], options={"n_samples": 3, "seed": SEED, "first_cell": first_cell})

    n_cells = len(query.ask.cells)
    once = callers["rest-dense"](sampled(query.ask, first_cell))
    assert once.facts["seed"] == SEED
    assert once.arrays.keys() == set(SAMPLE_NAMES)
    assert once.arrays["latent_l"].shape == (3, n_cells)
    for caller in CALLERS:
        encode = callers[caller]
        assert_same_bits(encode(sampled(query.ask, first_cell)), once)
        bounds = [0, 1, 17, 50, n_cells]
        pieces = [
            encode(sampled(query.ask.part(slice(begin, end)), first_cell + begin))
            for begin, end in itertools.pairwise(bounds)
        ]
        assert_same_bits(joined(pieces), once)


def test_samples_are_draws_from_the_posterior(query: Query, rpc: GrpcCaller, whole: Answer) -> None:
    n_cells, n_samples = 20, 1000
    options = {"n_samples": n_samples, "seed": 1}
    answer = rpc.encode(query.ask.part(slice(0, n_cells)).but(outputs=["samples"], options=options)).arrays

    for draws, distribution in (("untran_latent_z", "qz"), ("untran_latent_l", "ql")):
        mean, variance = (whole.arrays[f"{distribution}_{part}"][:n_cells] for part in ("mean", "variance"))
        noise = (answer[draws].astype(np.float64) - mean) / np.sqrt(variance)
        # Five standard errors of a mean and of a variance of standard normals.
        assert np.abs(noise.mean(axis=0)).max() < 5 / n_samples**0.5
        assert np.abs(noise.var(axis=0) - 1).max() < 5 * (2 / n_samples) ** 0.5
    np.testing.assert_allclose(answer["latent_l"], np.exp(np.minimum(answer["untran_latent_l"], 15.0)), rtol=1e-6)
    z = answer["untran_latent_z"]
    latent = softmax(z) if query.ask.model == "covariates_ln" else z
    np.testing.assert_allclose(answer["latent_z"], latent, rtol=1e-5, atol=1e-7)


def test_z_is_the_mean_of_the_latent_space(query: Query, whole: Answer) -> None:
    mean, variance, z = (whole.arrays[name] for name in ("qz_mean", "qz_variance", "z"))
    if query.ask.model != "covariates_ln":
        np.testing.assert_array_equal(z, mean)
        return
    rng, n_draws = np.random.default_rng(3), 200_000
    for cell in range(0, len(z), 5):
        noise = rng.standard_normal((n_draws, z.shape[1]), dtype=np.float32)
        draws = softmax(mean[cell] + np.sqrt(variance[cell]) * noise).astype(np.float64)
        error = draws.std(axis=0) / n_draws**0.5
        assert np.all(np.abs(z[cell] - draws.mean(axis=0)) < 5 * error + 1e-7), cell
    np.testing.assert_allclose(z.sum(axis=1), 1.0, rtol=1e-6)


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
