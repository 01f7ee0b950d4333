"""The messages of `totalvi_v1.proto`, to and from what the core speaks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError, Message

from service.core.alignment import shown_key
from service.core.errors import invalid, malformed, too_large
from service.core.messages import (
    NO_CELLS,
    Counts,
    CsrCounts,
    DenseCounts,
    EncodeReply,
    EncodeRequest,
    Labels,
    Limits,
    ModelCard,
    Notice,
    Output,
    ValidationReport,
)
from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.protobuf.tensor_codec import (
    CODE_DTYPES,
    COUNT_DTYPES,
    INDEX_DTYPES,
    REAL_DTYPES,
    decode_tensor,
    encode_tensor,
)

MessageT = TypeVar("MessageT", bound=Message)

_OUTPUTS: Mapping[int, Output] = {
    pb.OUTPUT_QZ: Output.QZ,
    pb.OUTPUT_QL: Output.QL,
    pb.OUTPUT_Z: Output.Z,
    pb.OUTPUT_LIBRARY: Output.LIBRARY,
    pb.OUTPUT_SAMPLES: Output.SAMPLES,
}

# What every message of a stream may hold; all else is said once, in the first.
_FIELDS_OF_CELLS = frozenset(
    {"cells", "gene_counts", "protein_counts", "batch", "categorical_covariates", "continuous_covariates"}
)


def parse(kind: type[MessageT], body: bytes | bytearray) -> MessageT:
    """The message of type `kind` that `body` serialises.

    Raises:
        ServiceError: `MALFORMED`, where it serialises none.
    """
    try:
        # A bytearray is read where it lies, whatever the annotation says; a memoryview would be copied first.
        return kind.FromString(cast(bytes, body))
    except DecodeError:
        malformed(f"the message is not a serialised {kind.DESCRIPTOR.full_name}")


def named_model(message: pb.EncodeRequest) -> tuple[str | None, str | None]:
    """The model and the version that a request names; None where it names none."""
    return message.model or None, message.model_version or None


def decode_request(message: pb.EncodeRequest, limits: Limits, *, cells_follow: bool = False) -> EncodeRequest:
    """The cells of `message`, their arrays being views on copies of its bytes; values are not checked yet.

    Args:
        message: as it came.
        limits: on its lists.
        cells_follow: it opens a stream and may bring no cells: then its `gene_counts` are `NO_CELLS`.

    Raises:
        ServiceError: `MALFORMED`, naming the field that cannot be decoded; `TOO_LARGE`, naming a list too long to walk;
            `INVALID`, where there are no `gene_counts`.
    """
    has_genes = message.HasField("gene_counts")
    if not has_genes and (not cells_follow or message.HasField("protein_counts") or message.cells):
        invalid("gene_counts is missing", field="gene_counts")
    _check_lengths(message, longest=max(limits.max_columns, limits.max_request_cells))
    request = EncodeRequest(
        gene_counts=_decode_counts(message.gene_counts, "gene_counts") if has_genes else NO_CELLS,
        protein_counts=(
            _decode_counts(message.protein_counts, "protein_counts") if message.HasField("protein_counts") else None
        ),
        genes=tuple(message.genes) or None,
        proteins=tuple(message.proteins) or None,
        cells=tuple(message.cells) or None,
        batch=_decode_labels(message.batch, "batch") if message.HasField("batch") else None,
        categorical_covariates={
            key: _decode_labels(labels, _dotted("categorical_covariates", key))
            for key, labels in message.categorical_covariates.items()
        },
        continuous_covariates={
            key: decode_tensor(values, field=_dotted("continuous_covariates", key), dtypes=REAL_DTYPES, ranks=(0, 1))
            for key, values in message.continuous_covariates.items()
        },
        outputs=_decode_outputs(message.outputs),
        n_samples=message.n_samples,
        seed=message.seed if message.HasField("seed") else None,
        first_cell=message.first_cell,
        allow_non_integer=message.allow_non_integer,
    )
    if message.HasField("min_gene_coverage"):
        return dataclasses.replace(request, min_gene_coverage=message.min_gene_coverage)
    return request


def decode_slice(message: pb.EncodeRequest, limits: Limits) -> EncodeRequest:
    """The cells of a later `message` of a stream, as `decode_request` would read them.

    Raises:
        ServiceError: besides, `INVALID` where it says again what the first message has said for all.
    """
    for field, _ in message.ListFields():
        if field.name not in _FIELDS_OF_CELLS:
            invalid(f"{field.name} is for the first message of a stream alone", field=field.name)
    return decode_request(message, limits)


def encode_reply(reply: EncodeReply) -> pb.EncodeResponse:
    """The wire form of an answer; what was not computed is not set."""
    response = pb.EncodeResponse(
        model=reply.model,
        model_version=reply.model_version,
        n_cells=reply.n_cells,
        cells=reply.cells,
        warnings=_encode_notices(reply.warnings),
    )
    _fill(response.qz.mean, reply.qz_mean)
    _fill(response.qz.variance, reply.qz_variance)
    _fill(response.ql.mean, reply.ql_mean)
    _fill(response.ql.variance, reply.ql_variance)
    _fill(response.z, reply.z)
    _fill(response.library.observed, reply.library_observed)
    _fill(response.library.latent, reply.library_latent)
    if reply.samples is not None:
        response.samples.seed = reply.samples.seed
        encode_tensor(reply.samples.latent_z, response.samples.latent.z)
        encode_tensor(reply.samples.latent_l, response.samples.latent.l)
        encode_tensor(reply.samples.untran_latent_z, response.samples.untran_latent.z)
        encode_tensor(reply.samples.untran_latent_l, response.samples.untran_latent.l)
    return response


def encode_report(report: ValidationReport) -> pb.ValidateResponse:
    """The wire form of what a check found."""
    return pb.ValidateResponse(
        model=report.model,
        model_version=report.model_version,
        n_cells=report.n_cells,
        genes=pb.Coverage(**dataclasses.asdict(report.genes)),
        proteins=pb.Coverage(**dataclasses.asdict(report.proteins)),
        warnings=_encode_notices(report.warnings),
    )


def encode_card(card: ModelCard) -> pb.ModelCard:
    """The wire form of a card: what a request must match is typed, the rest of the manifest a struct."""
    manifest = dict(card.manifest)
    batch = manifest.pop("batch", None)
    message = pb.ModelCard(
        name=card.name,
        version=card.version,
        versions=card.versions,
        state=card.state,
        sha256=card.sha256,
        reason=card.reason,
        genes=manifest.pop("genes", ()),
        proteins=manifest.pop("proteins", ()),
        batch=None if batch is None else _encode_field(batch),
        categorical_covariates=map(_encode_field, manifest.pop("categorical_covariates", ())),
        continuous_covariates=manifest.pop("continuous_covariates", ()),
    )
    message.manifest.update(manifest)
    return message


def _dotted(field: str, key: str) -> str:
    """A caller's key in the name of its field, readable whatever the key holds."""
    return f"{field}.{shown_key(key)}"


def _check_lengths(message: pb.EncodeRequest, longest: int) -> None:
    # Tensors cost nothing to walk, but 64 MiB may hold 16 million labels, which would take seconds.
    lengths = {
        "cells": len(message.cells),
        "genes": len(message.genes),
        "proteins": len(message.proteins),
        "batch": len(message.batch.categories),
        "categorical_covariates": sum(1 + len(labels.categories) for labels in message.categorical_covariates.values()),
        "continuous_covariates": len(message.continuous_covariates),
        "outputs": len(message.outputs),
    }
    for field, length in lengths.items():
        if length > longest:
            too_large(
                f"{field} has {length} entries, over the {longest} of the larger of max_columns and max_request_cells",
                field=field,
            )


def _decode_counts(counts: pb.Counts, field: str) -> Counts:
    match counts.WhichOneof("form"):
        case "dense":
            return DenseCounts(decode_tensor(counts.dense, field=field, dtypes=COUNT_DTYPES, ranks=(2,)))
        case "csr":
            csr = counts.csr
            return CsrCounts(
                indptr=decode_tensor(csr.indptr, field=f"{field}.indptr", dtypes=INDEX_DTYPES),
                indices=decode_tensor(csr.indices, field=f"{field}.indices", dtypes=INDEX_DTYPES),
                data=decode_tensor(csr.data, field=f"{field}.data", dtypes=COUNT_DTYPES),
                n_columns=csr.n_columns if csr.HasField("n_columns") else None,
            )
        case _:
            malformed(f"{field}: dense or csr must be set", field=field)


def _decode_labels(labels: pb.Labels, field: str) -> Labels:
    categories = []
    for index, label in enumerate(labels.categories):
        form = label.WhichOneof("value")
        if form is None:
            malformed(f"{field}.categories: a label has no value", field=f"{field}.categories", index=index)
        categories.append(getattr(label, form))
    codes = (
        decode_tensor(labels.codes, field=f"{field}.codes", dtypes=CODE_DTYPES) if labels.HasField("codes") else None
    )
    return Labels(tuple(categories), codes)


def _decode_outputs(outputs: Iterable[int]) -> frozenset[Output] | None:
    for index, output in enumerate(outputs):
        if output not in _OUTPUTS:
            names = ", ".join(pb.Output.Name(known) for known in _OUTPUTS)
            invalid(f"outputs: each must be one of {names}", field="outputs", index=index)
    return frozenset(_OUTPUTS[output] for output in outputs) or None


def _encode_notices(notices: Iterable[Notice]) -> Iterator[pb.Warning]:
    return (pb.Warning(**dataclasses.asdict(notice)) for notice in notices)


def _fill(tensor: pb.Tensor, values: npt.NDArray[np.float32] | None) -> None:
    if values is not None:
        encode_tensor(values, tensor)


def _encode_field(field: Mapping[str, Any]) -> pb.CategoricalField:
    return pb.CategoricalField(key=field["key"], categories=map(_encode_label, field["categories"]))


def _encode_label(label: str | int | float | bool) -> pb.Label:
    match label:
        case bool():  # before int, which it also is
            return pb.Label(bool_value=label)
        case int():
            return pb.Label(int_value=label)
        case float():
            return pb.Label(double_value=label)
        case str():
            return pb.Label(string_value=label)
