"""The JSON of the v1 routes: a body to an `EncodeRequest`, an `EncodeReply` or a card to a body.

Counts go from text straight into buffers and no Python object is made for them; pydantic sees the small fields alone.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Collection
from typing import Any, Literal, NoReturn, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import orjson
import simdjson
from pydantic import ValidationError

from service.core.alignment import shown_key
from service.core.errors import ErrorKind, ServiceError, invalid, malformed, too_large
from service.core.messages import (
    Counts,
    CsrCounts,
    DenseCounts,
    EncodeReply,
    EncodeRequest,
    Labels,
    Limits,
    ModelCard,
    Output,
    ValidationReport,
)
from service.rest.schemas import CsrRows, EncodeBody, EncodeOptions, LabelValue

NumberType: TypeAlias = Literal["d", "i"]

_DTYPES: dict[NumberType, type[np.generic]] = {"d": np.float64, "i": np.int64}
_COUNT_FIELDS = ("gene_counts", "protein_counts")
_CSR_PARTS: dict[str, NumberType] = {"indptr": "i", "indices": "i", "data": "d"}
_OUT_OF_RANGE = ("greater_than_equal", "less_than_equal", "literal_error")
# Looking a member up walks the object, so all of n members cost n * n.
_MAX_COVARIATES = 1000
_LONGEST_KEY = 64  # that is worth a guess


def decode_request(body: bytes | bytearray, limits: Limits) -> EncodeRequest:
    """The request that a JSON body spells; labels, widths and counts are left for the core to check.

    Raises:
        ServiceError: `malformed` for what is not JSON, not a known field, given twice, or of a wrong type; `invalid`
            for ragged rows, options out of range and absent `gene_counts`; `too_large` for lists over `limits`.
    """
    document = _parse(body)
    if not isinstance(document, simdjson.Object):
        malformed("the body must be a JSON object")
    fields = {
        name: _members(value, name, CsrRows.model_fields if name in _COUNT_FIELDS else None)
        if isinstance(value, simdjson.Object)
        else value
        for name, value in _members(document, "", EncodeBody.model_fields).items()
    }
    # simdjson flattens lists hidden in a row or vector without a word. More brackets than the fields account for mean
    # that there may be one (or a name with a bracket), and only then is every number looked at.
    suspect = body.count(b"[") != sum(_n_lists(name, value) for name, value in fields.items())
    reader = _FieldReader(fields, limits, suspect)
    gene_counts = reader.counts("gene_counts")
    if gene_counts is None:
        invalid("gene_counts is missing", field="gene_counts")
    return EncodeRequest(
        gene_counts=gene_counts,
        protein_counts=reader.counts("protein_counts"),
        batch=reader.labels("batch"),
        categorical_covariates=reader.categorical_covariates(),
        continuous_covariates=reader.continuous_covariates(),
        **reader.options(),
    )


def encode_reply(reply: EncodeReply) -> bytes:
    """The reply as JSON; outputs that were not asked for have no key."""
    body: dict[str, Any] = {"model": reply.model, "model_version": reply.model_version, "n_cells": reply.n_cells}
    if reply.cells is not None:
        body["cells"] = reply.cells
    if reply.qz_mean is not None:
        body["qz"] = {"mean": reply.qz_mean, "variance": reply.qz_variance}
    if reply.ql_mean is not None:
        body["ql"] = {"mean": reply.ql_mean, "variance": reply.ql_variance}
    if reply.z is not None:
        body["z"] = reply.z
    if reply.library_observed is not None:
        body["library"] = {"observed": reply.library_observed}
        if reply.library_latent is not None:
            body["library"]["latent"] = reply.library_latent
    if (samples := reply.samples) is not None:
        body["samples"] = {
            "seed": samples.seed,
            "latent": {"z": samples.latent_z, "l": samples.latent_l},
            "untran_latent": {"z": samples.untran_latent_z, "l": samples.untran_latent_l},
        }
    body["warnings"] = reply.warnings
    return orjson.dumps(body, np.ascontiguousarray, orjson.OPT_SERIALIZE_NUMPY)


def encode_report(report: ValidationReport) -> bytes:
    """What a check found, as JSON."""
    return orjson.dumps(report)


def card_fields(card: ModelCard) -> dict[str, Any]:
    """The members of a card's JSON: its own fields, then the manifest's."""
    own = {
        "name": card.name,
        "version": card.version,
        "versions": card.versions,
        "state": card.state,
        "sha256": card.sha256,
    }
    if card.reason is not None:
        own["reason"] = card.reason
    # `own` first for its order and last because a manifest may not overrule it.
    return own | dict(card.manifest) | own


def _parse(body: bytes | bytearray) -> object:
    try:
        # A parser of its own, because one cannot be used again while anything of its last document lives.
        return simdjson.Parser().parse(body)
    except (ValueError, RuntimeError) as error:
        reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
        malformed(f"the body is not valid JSON ({reason.partition('  ')[0]})")


def _members(parsed: simdjson.Object, path: str, known: Collection[str] | None) -> dict[str, Any]:
    """The members of the object at `path` ("" is the body), each once and, if `known` is given, one of those."""
    members: dict[str, Any] = {}
    for key in parsed:
        field = _dotted(path, key)
        if known is not None and key not in known:
            nearest = difflib.get_close_matches(key[:_LONGEST_KEY], known, n=1, cutoff=0)[0]
            malformed(f"{field} is not a known field; the nearest one is {nearest}", field=field)
        if key in members:
            malformed(f"{field} is given twice", field=field)
        if "\0" in key:  # pysimdjson would look up what stands before it
            malformed(f"a name in {path} holds a NUL character", field=path)
        if len(members) == _MAX_COVARIATES:
            too_large(f"{path} has more than {_MAX_COVARIATES} members", field=path)
        members[key] = parsed[key]
    return members


def _dotted(path: str, key: str) -> str:
    """A member's name in messages, short and readable whatever the caller's key is."""
    name = shown_key(key)
    return f"{path}.{name}" if path else name


def _n_lists(name: str, value: object) -> int:
    """How many lists a well-formed field consists of."""
    if isinstance(value, dict):
        return sum(isinstance(member, simdjson.Array) for member in value.values())
    if isinstance(value, simdjson.Array):
        return 1 + len(value) if name in _COUNT_FIELDS else 1
    return 0


class _FieldReader:
    """Turns the fields of one body into what the core takes.

    Attributes:
        fields: members of the body; objects are dictionaries already, lists are still simdjson's.
        limits: on the length of lists, checked before any Python object is made for their items.
        suspect: whether lists of numbers must be searched for hidden lists.
    """

    def __init__(self, fields: dict[str, Any], limits: Limits, suspect: bool) -> None:
        self._fields = fields
        self._limits = limits
        self._suspect = suspect

    def options(self) -> dict[str, Any]:
        """The small fields, checked by pydantic, as arguments of `EncodeRequest`."""
        given = {name: self._fields[name] for name in EncodeOptions.model_fields if name in self._fields}
        for name, value in given.items():
            if isinstance(value, simdjson.Array):
                given[name] = self._items(value, name)
        try:
            options = dict(EncodeOptions.model_validate(given))
        except ValidationError as error:
            _refuse_option(error)
        if options["outputs"] is not None:
            options["outputs"] = frozenset(map(Output, options["outputs"]))
        return options

    def counts(self, field: str) -> Counts | None:
        """A matrix of counts: float64 rows or CSR with int64 structure; None where it is absent or null."""
        value = self._fields.get(field)
        if value is None:
            return None
        if isinstance(value, dict):
            parts = {part: self._vector(value.get(part), f"{field}.{part}", of) for part, of in _CSR_PARTS.items()}
            return CsrCounts(parts["indptr"], parts["indices"], parts["data"])
        if not isinstance(value, simdjson.Array):
            malformed(f"{field} must be a list of rows, or an object of indptr, indices and data", field=field)
        return self._rows(value, field)

    def labels(self, field: str) -> Labels | None:
        """Labels of the cells, of the types JSON gave them; None where they are absent or null."""
        value = self._fields.get(field)
        return None if value is None else self._labels(value, field)

    def categorical_covariates(self) -> dict[str, Labels]:
        """Labels by covariate."""
        path = "categorical_covariates"
        return {key: self._labels(value, _dotted(path, key)) for key, value in self._object(path).items()}

    def continuous_covariates(self) -> dict[str, npt.NDArray[np.float64]]:
        """Numbers by covariate: float64 [cells], or [] where one is given for all."""
        path = "continuous_covariates"
        return {
            key: np.asarray(value, np.float64) if _is_number(value) else self._vector(value, _dotted(path, key), "d")
            for key, value in self._object(path).items()
        }

    def _object(self, field: str) -> dict[str, Any]:
        value = self._fields.get(field)
        if value is None:
            return {}
        if not isinstance(value, dict):
            malformed(f"{field} must be an object", field=field)
        return value

    def _items(self, values: simdjson.Array, field: str) -> tuple[Any, ...]:
        """The items of a list, whose length is checked first; lists and objects among them stay simdjson's."""
        limit = "max_columns" if field in ("genes", "proteins") else "max_request_cells"
        allowed = getattr(self._limits, limit)
        if len(values) > allowed:
            too_large(f"{field} has more items than {limit}, {allowed}", field=field)
        # Not as_list(): it writes past its own list for the 2**24 items at which simdjson stops counting.
        return tuple(values)

    def _labels(self, value: object, field: str) -> Labels:
        if not isinstance(value, simdjson.Array):
            return Labels.one(_label(value, field, None))
        return Labels.per_cell([_label(item, field, index) for index, item in enumerate(self._items(value, field))])

    def _rows(self, rows: simdjson.Array, field: str) -> Counts:
        if len(rows) > self._limits.max_request_cells:
            too_large(f"{field} has more rows than max_request_cells, {self._limits.max_request_cells}", field=field)
        widths = [len(row) if isinstance(row, simdjson.Array) else -1 for row in rows]
        if -1 in widths:
            index = widths.index(-1)
            malformed(f"{field} must be a list of rows; item {index} is not a list", field=field, index=index)
        width = widths[0] if widths else 0
        if widths.count(width) != len(widths):
            index = next(index for index, other in enumerate(widths) if other != width)
            detail = f"row {index} of {field} has {widths[index]} values where the rows before it have {width}"
            invalid(detail, field=field, index=index)
        if width > self._limits.max_columns:
            too_large(f"{field} has more columns than max_columns, {self._limits.max_columns}", field=field)
        values = self._numbers(rows, field, "d", lambda row: all(map(_is_number, row)))
        return DenseCounts(values.reshape(len(widths), width))

    def _vector(self, value: object, field: str, of_type: NumberType) -> npt.NDArray[Any]:
        if not isinstance(value, simdjson.Array):
            malformed(f"{field} must be a list of numbers", field=field)
        return self._numbers(value, field, of_type, _is_number if of_type == "d" else _is_int64)

    def _numbers(
        self, values: simdjson.Array, field: str, of_type: NumberType, is_right: Callable[[Any], bool]
    ) -> npt.NDArray[Any]:
        """The numbers in a list or in rows, flat; the first item that `is_right` denies is refused by its index."""
        if not self._suspect:
            with contextlib.suppress(TypeError, ValueError):
                return np.frombuffer(values.as_buffer(of_type=of_type), _DTYPES[of_type])
        for index, item in enumerate(values):
            if not is_right(item):
                wanted = "numbers" if of_type == "d" else "whole numbers of 64 bits"
                malformed(f"{field} must hold {wanted} alone; item {index} does not", field=field, index=index)
        return np.frombuffer(values.as_buffer(of_type=of_type), _DTYPES[of_type])


def _label(value: object, field: str, index: int | None) -> LabelValue:
    # Exact types: 1, 1.0, True and "1" are four labels.
    if type(value) not in (str, int, float, bool):
        malformed(f"{field} must hold labels alone: text, numbers, true or false", field=field, index=index)
    return cast(LabelValue, value)


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_int64(value: object) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _refuse_option(error: ValidationError) -> NoReturn:
    """Raise the first thing that pydantic found, in the service's words; the value itself is not repeated."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field, *rest = first["loc"]
    kind = ErrorKind.INVALID if first["type"] in _OUT_OF_RANGE else ErrorKind.MALFORMED
    index = next((part for part in rest if isinstance(part, int)), None)
    where = f"{field}" if index is None else f"item {index} of {field}"
    reason = first["msg"].removeprefix("Input ")
    raise ServiceError(kind, f"{where} {reason}", field=str(field), index=index)
