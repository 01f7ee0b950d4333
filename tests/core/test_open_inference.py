from __future__ import annotations

import dataclasses
import json
from typing import Any, cast

import numpy as np
import pytest

from model.contract import CategoricalField
from service.core.errors import ErrorKind, ServiceError
from service.core.inference_models import model_metadata, model_ready, repository_index
from service.core.messages import CsrCounts, EncodeReply, EncodeRequest, ModelCard, ModelState, Notice, Output, Samples
from service.core.named_tensors import NamedTensor
from service.core.open_inference import OUTPUTS, InferReply, infer, infer_request
from service.core.priority import Priority
from service.core.recorder import Call
from tests.fakes import make_spec

GENES = NamedTensor("gene_counts", np.ones((2, 5), np.uint8))


class FakeEngine:
    """Answers zeros, keeps what it is asked, and counts looks at the card."""

    def __init__(self, **spec: Any) -> None:
        self.manifest = make_spec(**spec).public()
        self.asked: list[EncodeRequest] = []
        self.n_cards = 0
        self.error: ServiceError | None = None
        self.states: list[ModelState] = []
        self.health = cast(Any, type("Health", (), {"ready": True, "started": True}))

    def card(self, model: str, version: str | None = None) -> ModelCard:
        self.n_cards += 1
        if model != "m":
            raise ServiceError(ErrorKind.NOT_FOUND, "there is no such model")
        return ModelCard("m", "1", ("1",), "ready", "0" * 64, self.manifest)

    async def encode(self, request: EncodeRequest, call: Call, *, model: str, version: str | None) -> EncodeReply:
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        matrix, vector = np.zeros((2, 3), np.float32), np.zeros(2, np.float32)
        samples = Samples(7, matrix[None], vector[None], matrix[None], vector[None])
        notices = (Notice("code", "detail", 1, ("example",)),)
        return EncodeReply("m", "1", 2, None, matrix, matrix, vector, vector, matrix, vector, vector, samples, notices)

    def repository_index(self, ready: bool = False) -> list[ModelState]:
        return [state for state in self.states if state.state == "ready" or not ready]


async def answer(engine: FakeEngine, *tensors: NamedTensor, **options: Any) -> InferReply:
    call = Call("rest", "infer", "id", started_s=100.0, deadline_s=options.pop("deadline_s", None))
    call.priority = options.pop("priority", Priority.INTERACTIVE)
    engine.call = call  # type: ignore[attr-defined]
    asked = infer_request([GENES, *tensors], **options)
    return await infer(cast(Any, engine), asked, call, model="m", version=None)


@pytest.mark.parametrize("name", OUTPUTS)
async def test_each_output_alone(name: str) -> None:
    engine = FakeEngine()
    reply = await answer(engine, outputs=[name])
    assert list(reply.outputs) == [name]
    assert engine.asked[0].outputs == OUTPUTS[name]
    assert reply.parameters["seed"] == 7
    assert json.loads(str(reply.parameters["warnings"]))[0]["code"] == "code"


async def test_without_outputs_the_core_chooses() -> None:
    engine = FakeEngine()
    assert list((await answer(engine, parameters={"n_samples": 3})).outputs) == list(OUTPUTS)
    assert (engine.asked[0].outputs, engine.asked[0].n_samples) == (None, 3)


@pytest.mark.parametrize(("outputs", "n_samples"), [(["z"], 0), (["z", "latent_l"], 3)])
async def test_draws_are_made_for_those_who_see_them(outputs: list[str], n_samples: int) -> None:
    engine = FakeEngine()
    await answer(engine, outputs=outputs, parameters={"n_samples": 3})
    assert engine.asked[0].n_samples == n_samples


async def test_options_reach_the_core() -> None:
    engine = FakeEngine()
    given = {"seed": 2**64 - 1, "first_cell": 5, "min_gene_coverage": 0, "allow_non_integer": True}
    await answer(engine, parameters=given)
    asked = dataclasses.asdict(engine.asked[0])
    assert {name: asked[name] for name in given} == given


@pytest.mark.parametrize(
    ("timeout", "deadline_s", "expected"),
    [(0, None, None), (0, 101.0, 101.0), (500_000, None, 100.5), (500_000, 100.25, 100.25), (500_000, 101.0, 100.5)],
)
async def test_the_earlier_deadline_holds(timeout: int, deadline_s: float | None, expected: float | None) -> None:
    engine = FakeEngine()
    await answer(engine, parameters={"timeout": timeout}, deadline_s=deadline_s)
    assert engine.call.deadline_s == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("level", "of_header", "expected"),
    [
        (0, Priority.INTERACTIVE, Priority.INTERACTIVE),
        (0, Priority.BULK, Priority.BULK),
        (1, Priority.BULK, Priority.INTERACTIVE),
        (2, Priority.INTERACTIVE, Priority.BULK),
        (2**64 - 1, Priority.INTERACTIVE, Priority.BULK),
    ],
)
async def test_levels_of_priority(level: int, of_header: Priority, expected: Priority) -> None:
    """As Triton counts them: 1 is the highest, 0 says nothing."""
    engine = FakeEngine()
    await answer(engine, parameters={"priority": level}, priority=of_header)
    assert engine.call.priority is expected  # type: ignore[attr-defined]


def test_sparse_genes() -> None:
    parts = {"indptr": np.array([0, 1]), "indices": np.array([4]), "data": np.array([2])}
    asked = infer_request([NamedTensor(f"gene_counts.{part}", values) for part, values in parts.items()])
    assert isinstance(asked.cells.gene_counts, CsrCounts)
    assert asked.cells.gene_counts.indices is parts["indices"]


async def test_labels_become_the_models_own() -> None:
    field = CategoricalField("lane", (1, 2.0, True, "3", 3))
    engine = FakeEngine(batch=("10x", "2"), categorical_covariates=(field,))
    texts = ("1", "2.0", "True", "3", "1.0", "2", "true", "x")
    await answer(engine, NamedTensor("covariate.lane", texts), NamedTensor("batch", ("2",)))
    labels = engine.asked[0].categorical_covariates["lane"]
    own = [labels.categories[code] for code in labels.codes] if labels.codes is not None else []
    assert [(type(label), label) for label in own] == [
        (int, 1),
        (float, 2.0),
        (bool, True),
        (str, "3"),  # the text is a label itself
        (str, "1.0"),
        (str, "2"),
        (str, "true"),
        (str, "x"),
    ]
    assert engine.asked[0].batch is not None
    assert engine.asked[0].batch.categories == ("2",)
    assert engine.n_cards == 1


async def test_labels_that_can_only_be_text_need_no_look_at_the_model() -> None:
    engine = FakeEngine()
    await answer(engine, NamedTensor("batch", ("PBMC10k", "donor 1")))
    assert engine.n_cards == 0


async def test_covariates_are_called_as_their_tensors_are() -> None:
    engine = FakeEngine()
    told = "categorical_covariates.donor"
    engine.error = ServiceError(ErrorKind.INVALID, f"{told} is unknown", field=told, index=3, counts={"offenders": 2})
    with pytest.raises(ServiceError) as refused:
        await answer(engine)
    error = refused.value
    assert (error.detail, error.field) == ("covariate.donor is unknown", "covariate.donor")
    assert (error.kind, error.index, error.counts) == (ErrorKind.INVALID, 3, {"offenders": 2})


def test_metadata_tells_what_the_encoder_uses() -> None:
    fields = (CategoricalField("lane", (1, 2)), CategoricalField("one", ("a",)))
    for uses, expected in ((True, ["batch", "covariate.lane", "covariate.age"]), (False, [])):
        engine = FakeEngine(categorical_covariates=fields, continuous_covariates=("age",), encode_covariates=uses)
        names = [tensor.name for tensor in model_metadata(engine.card("m")).inputs]
        assert names[7:] == expected
    engine = FakeEngine(batch=None)
    assert len(model_metadata(engine.card("m")).inputs) == 7


def test_the_index_in_the_protocols_words() -> None:
    engine = FakeEngine()
    engine.states = [
        ModelState("m", "1", "ready"),
        ModelState("m", "2", "loading"),
        ModelState("m", "3", "failed", "no artifact"),
        ModelState("n", "1", "unloaded", "by request"),
    ]
    entries = repository_index(cast(Any, engine), ready=False)
    assert [entry.state for entry in entries] == ["READY", "LOADING", "UNAVAILABLE", "UNAVAILABLE"]
    assert entries[2].reason == "no artifact"
    assert [entry.version for entry in repository_index(cast(Any, engine), ready=True)] == ["1"]


def test_a_model_is_ready_if_a_version_answers() -> None:
    engine = FakeEngine()
    engine.states = [ModelState("m", "1", "ready"), ModelState("m", "2", "loading"), ModelState("n", "1", "failed")]
    ready = {
        (name, version): model_ready(cast(Any, engine), name, version)
        for name, version in (("m", None), ("m", "1"), ("m", "2"), ("n", None))
    }
    assert ready == {("m", None): True, ("m", "1"): True, ("m", "2"): False, ("n", None): False}
    assert engine.n_cards == 0
    with pytest.raises(ServiceError):
        model_ready(cast(Any, engine), "other", None)
    engine.health.ready = False
    assert not model_ready(cast(Any, engine), "m", None)


def test_every_output_of_the_core_has_a_name() -> None:
    assert frozenset().union(*OUTPUTS.values()) == set(Output)
