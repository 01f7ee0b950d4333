"""The Open Inference Protocol over the engine: named tensors in, named tensors out, whatever transport they come by."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model.contract import Float32Array, Label
from service.core.alignment import shown_key
from service.core.engine import Engine
from service.core.errors import ServiceError, invalid, too_large
from service.core.inference_options import Options, Parameter
from service.core.messages import (
    Counts,
    CsrCounts,
    DenseCounts,
    EncodeReply,
    EncodeRequest,
    Labels,
    Output,
)
from service.core.named_tensors import COVARIATE, NamedTensor
from service.core.priority import Priority
from service.core.recorder import Call

OUTPUTS: Final[Mapping[str, frozenset[Output]]] = {
    "qz_mean": frozenset({Output.QZ}),
    "qz_variance": frozenset({Output.QZ}),
    "ql_mean": frozenset({Output.QL}),
    "ql_variance": frozenset({Output.QL}),
    "z": frozenset({Output.Z}),
    "library_observed": frozenset({Output.LIBRARY}),
    "library_latent": frozenset({Output.LIBRARY, Output.QL}),
    "latent_z": frozenset({Output.SAMPLES}),
    "latent_l": frozenset({Output.SAMPLES}),
    "untran_latent_z": frozenset({Output.SAMPLES}),
    "untran_latent_l": frozenset({Output.SAMPLES}),
}
"""What the core must answer for each output, in the order in which outputs are told."""

MOST_INPUTS: Final = 1000
"""Tensors of one request; a model has a dozen."""

_CSR_PARTS = ("indptr", "indices", "data")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class InferRequest:
    """A decoded request.

    Attributes:
        cells: what is asked, its labels still as text.
        outputs: names of what to answer, in order; empty: the default set.
        timeout_s: seconds from its arrival after which nobody waits; None: it says nothing.
        priority: whose turn its cells take; None: it says nothing.
        id: to echo; None: it has none.
    """

    cells: EncodeRequest
    outputs: tuple[str, ...]
    timeout_s: float | None
    priority: Priority | None
    id: str | None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class InferReply:
    """An answer.

    Attributes:
        model: that computed it.
        model_version: of the model.
        id: of the request.
        outputs: float32, by name, in the order to tell them.
        parameters: of the answer.
    """

    model: str
    model_version: str
    id: str | None
    outputs: dict[str, Float32Array]
    parameters: dict[str, Parameter]

    @property
    def nbytes(self) -> int:
        """Bytes of all outputs."""
        return sum(values.nbytes for values in self.outputs.values())


def check_number_of_inputs(number: int) -> None:
    """Refuse, before they are walked, more tensors than any request needs.

    Raises:
        ServiceError: `TOO_LARGE`.
    """
    if number > MOST_INPUTS:
        too_large(f"there are {number} inputs; a request may have {MOST_INPUTS}", field="inputs")


def infer_request(
    tensors: Sequence[NamedTensor],
    *,
    outputs: Sequence[str] = (),
    parameters: Mapping[str, Parameter] | None = None,
    request_id: str | None = None,
) -> InferRequest:
    """What named tensors ask.

    Raises:
        ServiceError: `INVALID` for inputs that are missing, given twice or exclude one another, for outputs that there
            are not, and for parameters that are unknown or out of range; `MALFORMED` for those of a wrong type.
    """
    given: dict[str, Any] = {}
    for tensor in tensors:
        if tensor.name in given:
            invalid(f"{shown_key(tensor.name)} is given twice", field=shown_key(tensor.name))
        given[tensor.name] = tensor.values
    _check_outputs(outputs)
    options = Options(parameters or {})
    covariates = {name.removeprefix(COVARIATE): values for name, values in given.items() if name.startswith(COVARIATE)}
    wanted = frozenset[Output]().union(*(OUTPUTS[name] for name in outputs))
    n_samples = options.integer("n_samples", 0)
    cells = EncodeRequest(
        gene_counts=_gene_counts(given),
        protein_counts=DenseCounts(given["protein_counts"]) if "protein_counts" in given else None,
        genes=given.get("genes"),
        proteins=given.get("proteins"),
        batch=_labels(given["batch"]) if "batch" in given else None,
        categorical_covariates={key: _labels(texts) for key, texts in covariates.items() if isinstance(texts, tuple)},
        continuous_covariates={
            key: numbers.reshape(()) if numbers.size == 1 else numbers
            for key, numbers in covariates.items()
            if isinstance(numbers, np.ndarray)
        },
        outputs=wanted or None,
        # Draws that no requested output shows are not made.
        n_samples=n_samples if Output.SAMPLES in wanted or not outputs else min(n_samples, 0),
        seed=options.integer("seed", None),
        first_cell=options.integer("first_cell", 0),
        min_gene_coverage=options.real("min_gene_coverage", 0.5),
        allow_non_integer=options.boolean("allow_non_integer", False),
    )
    return InferRequest(cells, tuple(outputs), options.timeout_s(), options.priority(), request_id)


async def infer(engine: Engine, asked: InferRequest, call: Call, *, model: str, version: str | None) -> InferReply:
    """Encode what is asked.

    Args:
        engine: computes it.
        asked: of `infer_request`.
        call: the open call; a `timeout` that ends before its deadline becomes its deadline, a `priority` its own.
        model: name.
        version: None: the default one.

    Raises:
        ServiceError: of any kind.
    """
    if asked.timeout_s is not None:
        deadline_s = call.started_s + asked.timeout_s
        call.deadline_s = deadline_s if call.deadline_s is None else min(call.deadline_s, deadline_s)
    if asked.priority is not None:
        call.priority = asked.priority
    try:
        cells = _with_own_labels(engine, asked.cells, model, version)
        reply = await engine.encode(cells, call, model=model, version=version)
    except ServiceError as error:
        raise _in_tensor_names(error) from error
    arrays = _arrays(reply)
    return InferReply(
        model=reply.model,
        model_version=reply.model_version,
        id=asked.id,
        outputs={name: arrays[name] for name in asked.outputs or arrays},
        parameters=_parameters(reply),
    )


def _gene_counts(given: Mapping[str, Any]) -> Counts:
    parts: dict[str, Any] = {part: given.get(f"gene_counts.{part}") for part in _CSR_PARTS}
    absent = [part for part, values in parts.items() if values is None]
    if "gene_counts" in given:
        if len(absent) < len(parts):
            invalid("gene_counts is given both dense and sparse", field="gene_counts")
        return DenseCounts(given["gene_counts"])
    if len(absent) == len(parts):
        invalid("gene_counts is missing", field="gene_counts")
    if absent:
        invalid(f"gene_counts.{absent[0]} is missing", field=f"gene_counts.{absent[0]}")
    return CsrCounts(indptr=parts["indptr"], indices=parts["indices"], data=parts["data"])


def _check_outputs(outputs: Sequence[str]) -> None:
    seen: set[str] = set()
    for index, name in enumerate(outputs):
        if name not in OUTPUTS:
            invalid(
                f"there is no output {shown_key(name)}; there are {', '.join(OUTPUTS)}", field="outputs", index=index
            )
        if name in seen:
            invalid(f"{name} is asked for twice", field="outputs", index=index)
        seen.add(name)


def _labels(texts: tuple[str, ...]) -> Labels:
    return Labels.one(texts[0]) if len(texts) == 1 else Labels.per_cell(texts)


def _with_own_labels(engine: Engine, cells: EncodeRequest, model: str, version: str | None) -> EncodeRequest:
    """The request with labels of the model's own types, where a text is exactly a label's text: 1 is `1`, 1.0 `1.0`.

    A version that is switched to before the engine looks takes the labels only if its own are of these types.
    """
    labels = [cells.batch, *cells.categorical_covariates.values()]
    texts = {text for given in labels if given is not None for text in given.categories}
    if not any(_may_be_no_text(str(text)) for text in texts):
        return cells
    facts = engine.card(model, version).manifest
    own = {field["key"]: field["categories"] for field in facts.get("categorical_covariates", ())}
    batch = facts.get("batch")
    return dataclasses.replace(
        cells,
        batch=None if cells.batch is None else _own(cells.batch, batch["categories"] if batch else ()),
        categorical_covariates={
            key: _own(given, own.get(key, ())) for key, given in cells.categorical_covariates.items()
        },
    )


def _may_be_no_text(text: str) -> bool:
    """Whether a number or a truth value has this text; what has not needs no look at the model."""
    if text in ("True", "False"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _own(given: Labels, categories: Sequence[Label]) -> Labels:
    by_text = {str(label): label for label in sorted(categories, key=lambda label: isinstance(label, str))}
    return Labels(tuple(by_text.get(str(text), text) for text in given.categories), given.codes)


def _in_tensor_names(error: ServiceError) -> ServiceError:
    """The error with covariates called as their tensors are."""

    def renamed(text: str) -> str:
        for name in ("categorical_covariates.", "continuous_covariates."):
            text = text.replace(name, COVARIATE)
        return text

    return ServiceError(
        error.kind,
        renamed(error.detail),
        field=None if error.field is None else renamed(error.field),
        index=error.index,
        counts=error.counts,
        retry_after_s=error.retry_after_s,
    )


def _arrays(reply: EncodeReply) -> dict[str, npt.NDArray[np.float32]]:
    """All that was computed, by the names of outputs and in their order."""
    found = {}
    for name, needed in OUTPUTS.items():
        source = reply.samples if Output.SAMPLES in needed else reply
        values = None if source is None else getattr(source, name)
        if values is not None:
            found[name] = values
    return found


def _parameters(reply: EncodeReply) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    if reply.samples is not None:
        parameters["seed"] = reply.samples.seed
    if reply.warnings:
        parameters["warnings"] = json.dumps([dataclasses.asdict(notice) for notice in reply.warnings])
    return parameters
