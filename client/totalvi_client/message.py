"""What is asked as `totalvi_v1.proto` writes it, and what is answered as numpy: both transports use it."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message

from totalvi_client.cells import ReadCells
from totalvi_client.counts import Array, Counts, DenseCounts, smallest
from totalvi_client.errors import UnexpectedAnswer
from totalvi_client.labels import Labels
from totalvi_client.options import Options
from totalvi_client.question import Answer
from totalvi_client.results import (
    Card,
    CategoricalField,
    Coverage,
    Encoding,
    Float32Array,
    Label,
    Library,
    Limits,
    Normal,
    Notice,
    Samples,
    Validation,
)
from totalvi_client.stubs import totalvi_v1_pb2 as pb

MessageT = TypeVar("MessageT", bound=Message)

_DTYPES: Final[Mapping[np.dtype[Any], pb.Tensor.DType]] = {
    np.dtype("u1"): pb.Tensor.U8,
    np.dtype("<u2"): pb.Tensor.U16,
    np.dtype("<u4"): pb.Tensor.U32,
    np.dtype("<i4"): pb.Tensor.I32,
    np.dtype("<i8"): pb.Tensor.I64,
    np.dtype("<f4"): pb.Tensor.F32,
    np.dtype("<f8"): pb.Tensor.F64,
}

_OUTPUTS: Final[Mapping[str, pb.Output]] = {
    "qz": pb.OUTPUT_QZ,
    "ql": pb.OUTPUT_QL,
    "z": pb.OUTPUT_Z,
    "library": pb.OUTPUT_LIBRARY,
    "samples": pb.OUTPUT_SAMPLES,
}


def options_message(options: Options) -> bytes:
    """What holds for all cells, serialised: with `cells_message` behind it, it is an `EncodeRequest`."""
    return _options_message(dataclasses.replace(options, first_cell=0))


# The slices of a stream share it, and its thousands of names.
@functools.lru_cache(maxsize=4)
def _options_message(options: Options) -> bytes:
    request = pb.EncodeRequest(
        model=options.model or "",
        model_version=options.version or "",
        genes=options.genes or (),
        proteins=options.proteins or (),
        outputs=[_OUTPUTS[output] for output in options.outputs or ()],
        n_samples=options.n_samples,
        seed=options.seed,
        min_gene_coverage=options.min_gene_coverage,
        allow_non_integer=options.allow_non_integer,
    )
    return request.SerializeToString()


def cells_message(cells: ReadCells, first_cell: int) -> bytes:
    """Cells, the first of which has that index in the whole matrix, serialised."""
    request = pb.EncodeRequest(cells=cells.cells or (), first_cell=first_cell)
    _write_counts(cells.gene_counts, request.gene_counts)
    if cells.protein_counts is not None:
        _write_counts(cells.protein_counts, request.protein_counts)
    if cells.batch is not None:
        _write_labels(cells.batch, request.batch)
    for key, labels in cells.categorical_covariates.items():
        _write_labels(labels, request.categorical_covariates[key])
    for name, values in cells.continuous_covariates.items():
        _write(values, request.continuous_covariates[name])
    return request.SerializeToString()


def read_encoding(answer: Answer, n_cells: int) -> Encoding:
    """What `Encode` answered for that many cells.

    Raises:
        UnexpectedAnswer: it is no such answer.
    """
    response = _parsed(pb.EncodeResponse, answer)
    reader = _Reader(answer, n_cells)
    if response.n_cells != n_cells or (response.cells and len(response.cells) != n_cells):
        raise reader.unexpected(f"{response.n_cells} cells for {n_cells}")
    samples = None
    if response.HasField("samples"):
        samples = Samples(
            seed=response.samples.seed,
            latent_z=reader.draws(response.samples.latent.z),
            latent_l=reader.draws(response.samples.latent.l),
            untran_latent_z=reader.draws(response.samples.untran_latent.z),
            untran_latent_l=reader.draws(response.samples.untran_latent.l),
        )
    library = None
    if response.HasField("library"):
        latent = reader.rows(response.library.latent) if response.library.HasField("latent") else None
        library = Library(reader.rows(response.library.observed), latent)
    return Encoding(
        model=response.model,
        model_version=response.model_version,
        n_cells=n_cells,
        cells=tuple(response.cells) or None,
        qz=reader.normal(response.qz) if response.HasField("qz") else None,
        ql=reader.normal(response.ql) if response.HasField("ql") else None,
        z=reader.rows(response.z) if response.HasField("z") else None,
        library=library,
        samples=samples,
        warnings=_read_notices(response.warnings),
        request_id=answer.request_id,
        timing=answer.timing,
    )


def read_validation(answer: Answer, n_cells: int) -> Validation:
    """What `Validate` answered for that many cells.

    Raises:
        UnexpectedAnswer: it is no such answer.
    """
    response = _parsed(pb.ValidateResponse, answer)
    if response.n_cells != n_cells:
        raise _Reader(answer, n_cells).unexpected(f"{response.n_cells} cells for {n_cells}")
    return Validation(
        model=response.model,
        model_version=response.model_version,
        n_cells=n_cells,
        genes=_read_coverage(response.genes),
        proteins=_read_coverage(response.proteins),
        warnings=_read_notices(response.warnings),
        request_id=answer.request_id,
        timing=answer.timing,
    )


def read_card(answer: Answer) -> Card:
    """What `GetModel` answered.

    Raises:
        UnexpectedAnswer: it is no such answer.
    """
    return _card_of_json(_json(answer), answer) if answer.is_json else _card_of_message(_parsed(pb.ModelCard, answer))


def read_server_version(answer: Answer) -> str | None:
    """Of the service, which stands beside the cards of `ListModels`; None: it is an older one.

    Raises:
        UnexpectedAnswer: it is no such answer.
    """
    if not answer.is_json:
        return _parsed(pb.ListModelsResponse, answer).server_version or None
    version = _json(answer).get("server_version")
    return version if isinstance(version, str) else None


def read_cards(answer: Answer) -> list[Card]:
    """What `ListModels` answered.

    Raises:
        UnexpectedAnswer: it is no such answer.
    """
    if not answer.is_json:
        return [_card_of_message(card) for card in _parsed(pb.ListModelsResponse, answer).models]
    cards = _json(answer).get("models")
    if not isinstance(cards, list):
        raise _Reader(answer, 0).unexpected("no models")
    return [_card_of_json(card, answer) for card in cards]


def read_limits(answer: Answer) -> Limits:
    """What `/v1/limits` answered; what it leaves out is the server's default.

    Raises:
        UnexpectedAnswer: it is no such answer.
    """
    found = _json(answer)
    return Limits(**{name: found[name] for name in Limits.__dataclass_fields__ if isinstance(found.get(name), int)})


class _Reader:
    """Reads the arrays of one answer, and holds them against the number of cells.

    Args:
        answer: for messages.
        n_cells: that were asked for.
    """

    def __init__(self, answer: Answer, n_cells: int) -> None:
        self._answer, self._n_cells = answer, n_cells

    def unexpected(self, what: str) -> UnexpectedAnswer:
        """An error that says what the answer is."""
        detail = f"the answer is not what a totalvi-serve of this version gives: {what}"
        return UnexpectedAnswer(detail, request_id=self._answer.request_id)

    def rows(self, tensor: pb.Tensor) -> Float32Array:
        """float32 [cells, …], a writable copy."""
        return self._array(tensor, axis=0)

    def draws(self, tensor: pb.Tensor) -> Float32Array:
        """float32 [samples, cells, …], a writable copy."""
        return self._array(tensor, axis=1)

    def normal(self, params: pb.NormalParams) -> Normal:
        """A mean and a variance for each cell."""
        return Normal(self.rows(params.mean), self.rows(params.variance))

    def _array(self, tensor: pb.Tensor, axis: int) -> Float32Array:
        if tensor.dtype != pb.Tensor.F32:
            raise self.unexpected("an array that is not float32")
        try:
            values: Array = np.frombuffer(tensor.data, "<f4").reshape(tuple(tensor.shape))
        except ValueError:
            raise self.unexpected("an array of another size than it says") from None
        if values.ndim <= axis or values.shape[axis] != self._n_cells:
            raise self.unexpected(f"an array of {values.shape} for {self._n_cells} cells")
        return values.astype(np.float32)


def _write_counts(counts: Counts, into: pb.Counts) -> None:
    if isinstance(counts, DenseCounts):
        _write(counts.values, into.dense)
        return
    indptr, indices, data = counts.parts()
    _write(indptr, into.csr.indptr)
    _write(indices, into.csr.indices)
    _write(data, into.csr.data)
    into.csr.n_columns = counts.n_columns


def _write_labels(labels: Labels, into: pb.Labels) -> None:
    for label in labels.categories:
        _write_label(label, into.categories.add())
    if labels.codes is not None:
        _write(smallest(labels.codes), into.codes)


def _write_label(label: Label, into: pb.Label) -> None:
    if isinstance(label, bool):  # before int, which it also is
        into.bool_value = label
    elif isinstance(label, int):
        into.int_value = label
    elif isinstance(label, float):
        into.double_value = label
    else:
        into.string_value = label


def _write(values: Array, into: pb.Tensor) -> None:
    into.dtype = _DTYPES[values.dtype]
    into.shape.extend(values.shape)
    into.data = values.tobytes()


def _parsed(kind: type[MessageT], answer: Answer) -> MessageT:
    try:
        return kind.FromString(answer.body)
    except DecodeError:
        raise _Reader(answer, 0).unexpected(f"no {kind.DESCRIPTOR.name}") from None


def _json(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _Reader(answer, 0).unexpected("no JSON object")
    return found


def _read_notices(warnings: Sequence[pb.Warning]) -> tuple[Notice, ...]:
    return tuple(Notice(one.code, one.detail, one.count, tuple(one.examples)) for one in warnings)


def _read_coverage(coverage: pb.Coverage) -> Coverage:
    return Coverage(coverage.given, coverage.known, coverage.missing, coverage.extra, coverage.coverage)


def _card_of_message(card: pb.ModelCard) -> Card:
    return Card(
        name=card.name,
        version=card.version,
        versions=tuple(card.versions),
        state=card.state,
        sha256=card.sha256,
        reason=card.reason if card.HasField("reason") else None,
        genes=tuple(card.genes),
        proteins=tuple(card.proteins),
        batch=_field_of_message(card.batch) if card.HasField("batch") else None,
        categorical_covariates=tuple(map(_field_of_message, card.categorical_covariates)),
        continuous_covariates=tuple(card.continuous_covariates),
        manifest=_whole_numbers(MessageToDict(card.manifest)),
    )


def _field_of_message(field: pb.CategoricalField) -> CategoricalField:
    labels = (getattr(label, label.WhichOneof("value") or "string_value") for label in field.categories)
    return CategoricalField(field.key, tuple(labels))


def _card_of_json(found: Any, answer: Answer) -> Card:
    try:
        rest = dict(found)
        batch = rest.pop("batch", None)
        return Card(
            name=rest.pop("name"),
            version=rest.pop("version"),
            versions=tuple(rest.pop("versions")),
            state=rest.pop("state"),
            sha256=rest.pop("sha256"),
            reason=rest.pop("reason", None),
            genes=tuple(rest.pop("genes", ())),
            proteins=tuple(rest.pop("proteins", ())),
            batch=None if batch is None else _field_of_json(batch),
            categorical_covariates=tuple(map(_field_of_json, rest.pop("categorical_covariates", ()))),
            continuous_covariates=tuple(rest.pop("continuous_covariates", ())),
            manifest=_whole_numbers(rest),
        )
    except (KeyError, TypeError, ValueError):
        raise _Reader(answer, 0).unexpected("no card of a model") from None


def _field_of_json(field: Mapping[str, Any]) -> CategoricalField:
    return CategoricalField(field["key"], tuple(field["categories"]))


def _whole_numbers(value: Any) -> Any:
    """The same with 20 for 20.0: gRPC's structs know no integers, and both transports are to give one card."""
    if isinstance(value, dict):
        return {key: _whole_numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
