"""A cell has the same bits, over random requests, spellings, neighbours and splits; no server, a real encoder."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contract import LatentParams
from model.device_encoder import DeviceEncoder
from service.core.alignment import ColumnIndex
from service.core.batch import Slice
from service.core.catalog import LoadedModel
from service.core.compute_step import compute
from service.core.messages import Counts, CsrCounts, DenseCounts, EncodeReply, EncodeRequest, Labels, Limits, Output
from service.core.preparation import PreparedRequest, prepare
from service.core.reply import compose_reply
from tests.saves import EXAMPLE_MODELS, ROOT

GOLDEN = np.load(ROOT / "tests" / "golden" / "pbmc.npz", allow_pickle=False)
GENES, PROTEINS = tuple(GOLDEN["gene_names"].tolist()), tuple(GOLDEN["protein_names"].tolist())
N_CELLS, SEED = len(GOLDEN["genes"]), 11
ENCODER = DeviceEncoder.load(EXAMPLE_MODELS / "pbmc" / "1" / "encoder.pt", device="cpu", threads=2)


def served(distribution: str) -> LoadedModel:
    """The example model; as `ln` it is the same encoder with another reading of its posterior."""
    spec = dataclasses.replace(ENCODER.spec, latent_distribution=distribution)
    encoder = DeviceEncoder.__new__(DeviceEncoder)
    vars(encoder).update(vars(ENCODER) | {"spec": spec})
    return LoadedModel("pbmc", "1", encoder, ColumnIndex("gene", spec.genes), ColumnIndex("protein", spec.proteins))


MODELS = {distribution: served(distribution) for distribution in ("normal", "ln")}


def spelt(matrix: np.ndarray[Any, Any], spelling: str, rng: np.random.Generator) -> Counts:
    """The same counts as a caller might write them."""
    if spelling == "dense":
        return DenseCounts(matrix.astype(rng.choice([np.uint16, np.int64, np.float32, np.float64])))
    rows, columns = np.nonzero(matrix)
    data = matrix[rows, columns]
    order = np.lexsort((rng.random(len(rows)) if spelling == "shuffled csr" else columns, rows))
    indptr = np.searchsorted(rows, np.arange(len(matrix) + 1))
    return CsrCounts(indptr, columns[order], data[order].astype(np.int32))


def request_for(cells: list[int], rng: np.random.Generator, spelling: str, **options: Any) -> EncodeRequest:
    """A request for some golden cells, in any order, extra columns mixed in, genes nobody has left out (DOMAIN 9.2)."""
    genes, proteins = GOLDEN["genes"][cells], GOLDEN["proteins"][cells]
    names = list(GENES)
    if rng.random() < 0.5:
        extra = [f"extra{i}" for i in range(rng.integers(1, 20))]
        names += extra
        genes = np.concatenate([genes, rng.integers(0, 5, size=(len(cells), len(extra)), dtype=np.uint16)], axis=1)
        order = rng.permutation(len(names))
        names, genes = [names[i] for i in order], genes[:, order]
    if rng.random() > 0.7:
        counted = genes.any(axis=0)
        names, genes = [name for name, some in zip(names, counted, strict=True) if some], genes[:, counted]
    order = rng.permutation(len(PROTEINS))
    return EncodeRequest(
        gene_counts=spelt(genes, spelling, rng),
        protein_counts=spelt(proteins[:, order], spelling, rng),
        genes=tuple(names),
        proteins=tuple(PROTEINS[i] for i in order),
        batch=Labels.per_cell([str(label) for label in GOLDEN["batch"][cells]]),
        outputs=frozenset(Output),
        n_samples=3,
        seed=SEED,
        min_gene_coverage=0.0,
        **options,
    )


def answer(items: list[PreparedRequest], cuts: list[list[int]], model: LoadedModel) -> list[EncodeReply]:
    """Compute the requests in one batch, each cut into slices, the slices of all of them interleaved."""
    slices = [
        (position, Slice(item, start, stop))
        for item, cut in zip(items, cuts, strict=True)
        for position, (start, stop) in enumerate(zip([0, *cut], [*cut, item.n_cells], strict=True))
        if stop > start
    ]
    slices.sort(key=lambda entry: entry[0])
    parts = compute(model.encoder, [piece for _, piece in slices])
    replies = []
    for item in items:
        own = [part for (_, piece), part in zip(slices, parts, strict=True) if piece.item is item]
        replies.append(compose_reply(item, LatentParams.concatenate(own), model))
    return replies


def bits(reply: EncodeReply, row: int) -> list[bytes]:
    """Everything the answer says of one cell."""
    assert reply.samples is not None
    by_cell = (reply.qz_mean, reply.qz_variance, reply.ql_mean, reply.ql_variance, reply.z, reply.library_observed)
    drawn = (reply.samples.latent_z, reply.samples.latent_l, reply.samples.untran_latent_z)
    told = [array[row].tobytes() for array in by_cell if array is not None]
    assert len(told) == len(by_cell)
    return told + [array[:, row].tobytes() for array in drawn]


def alone(cell: int, index: int, model: LoadedModel) -> list[bytes]:
    """What a cell gets when it is asked for by itself, in the model's own order, as cell `index` of its matrix."""
    request = request_for([cell], np.random.default_rng(0), "dense", first_cell=index)
    return bits(answer([prepare(request, model, Limits())], [[]], model)[0], 0)


@pytest.mark.parametrize("distribution", MODELS)
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_cell_is_itself_in_any_company(distribution: str, data: st.DataObject) -> None:
    model = MODELS[distribution]
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    requests = data.draw(
        st.lists(
            st.tuples(
                st.lists(st.integers(0, N_CELLS - 1), min_size=1, max_size=30),
                st.sampled_from(["dense", "csr", "shuffled csr"]),
                st.integers(0, 1 << 40),
            ),
            min_size=1,
            max_size=4,
        )
    )
    items = [
        prepare(request_for(cells, rng, spelling, first_cell=first), model, Limits())
        for cells, spelling, first in requests
    ]
    cuts = [sorted(data.draw(st.lists(st.integers(0, len(cells)), max_size=3))) for cells, _, _ in requests]
    for (cells, _, first), reply in zip(requests, answer(items, cuts, model), strict=True):
        row = data.draw(st.integers(0, len(cells) - 1))
        assert bits(reply, row) == alone(cells[row], first + row, model)
