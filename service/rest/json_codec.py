"""The JSON of the v1 routes: a body to an `EncodeRequest`, an `EncodeReply` or a card to a body.

Counts go from text straight into buffers and no Python object is made for them; pydantic sees the small fields alone.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Collection
from typing import Any, NoReturn, cast

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
    EncodeReply,
    EncodeRequest,
    Labels,
    Limits,
    ModelCard,
    Output,
    ValidationReport,
)
from service.rest.number_text import PIECE_BYTES, ListText, NumberReader, parsed_without_lists
from service.rest.parsed_numbers import MatrixReader, NumberType, is_number, numbers_of, parsed
from service.rest.schemas import CsrRows, EncodeBody, EncodeOptions, LabelValue

# Asked of pydantic each time, they would cost a single cell as much as reading its counts.
_BODY_NAMES, _OPTION_NAMES, _ROW_NAMES = map(
    frozenset, (EncodeBody.model_fields, EncodeOptions.model_fields, CsrRows.model_fields)
)
_OUTPUTS = {output.value: output for output in Output}
_OUTPUTS_ALONE = {"outputs"}
_COUNT_FIELDS = ("gene_counts", "protein_counts")
_CSR_PARTS: dict[str, NumberType] = {"indptr": "i", "indices": "i", "data": "d"}
PIECE_VALUES = 1 << 16
"""Numbers of an answer that are written in one go, about three milliseconds' work."""

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
    document, texts = parsed_without_lists(body, dict.fromkeys(_COUNT_FIELDS, _CSR_PARTS))
    if not isinstance(document, simdjson.Object):
        malformed("the body must be a JSON object")
    fields = {
        name: members(value, name, _ROW_NAMES if name in _COUNT_FIELDS else None)
        if isinstance(value, simdjson.Object)
        else value
        for name, value in members(document, "", _BODY_NAMES).items()
    }
    # Of a long body the lists were cut out, and those that were not are parsed once more.
    n_brackets = body.count(b"[") if len(body) <= PIECE_BYTES else None
    reader = _FieldReader(fields, texts, limits, n_brackets=n_brackets)
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
        body["qz"] = {"mean": json_array(reply.qz_mean), "variance": json_array(reply.qz_variance)}
    if reply.ql_mean is not None:
        body["ql"] = {"mean": json_array(reply.ql_mean), "variance": json_array(reply.ql_variance)}
    if reply.z is not None:
        body["z"] = json_array(reply.z)
    if reply.library_observed is not None:
        body["library"] = {"observed": json_array(reply.library_observed)}
        if reply.library_latent is not None:
            body["library"]["latent"] = json_array(reply.library_latent)
    if (samples := reply.samples) is not None:
        body["samples"] = {
            "seed": samples.seed,
            "latent": {"z": json_array(samples.latent_z), "l": json_array(samples.latent_l)},
            "untran_latent": {"z": json_array(samples.untran_latent_z), "l": json_array(samples.untran_latent_l)},
        }
    body["warnings"] = reply.warnings
    return dumps(body)


def json_array(values: npt.NDArray[np.float32] | None) -> object:
    """What orjson writes as `values`; a long array is text already, for orjson would let nobody in between."""
    return values if values is None or values.size <= PIECE_VALUES else orjson.Fragment(_array_text(values))


def _array_text(values: npt.NDArray[np.float32]) -> bytes:
    if values.size <= PIECE_VALUES:
        return dumps(values)
    n_rows = PIECE_VALUES * len(values) // values.size
    if n_rows == 0:
        return b"[%b]" % b",".join(map(_array_text, values))
    pieces = []
    for start in range(0, len(values), n_rows):
        pieces.append(dumps(values[start : start + n_rows])[1:-1])
        time.sleep(0)
    return b"[%b]" % b",".join(pieces)


def dumps(body: object) -> bytes:
    """JSON, numpy's arrays included."""
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


def members(parsed: simdjson.Object, path: str, known: Collection[str] | None) -> dict[str, Any]:
    """The members of the object at `path` ("" is the body), each once and, if `known` is given, one of those."""
    found: dict[str, Any] = {}
    for key in parsed:
        if known is not None and key not in known:
            field = _dotted(path, key)
            nearest = difflib.get_close_matches(key[:_LONGEST_KEY], sorted(known), n=1, cutoff=0)[0]
            malformed(f"{field} is not a known field; the nearest one is {nearest}", field=field)
        if key in found:
            field = _dotted(path, key)
            malformed(f"{field} is given twice", field=field)
        if "\0" in key:  # pysimdjson would look up what stands before it
            malformed(f"a name in {path} holds a NUL character", field=path)
        if len(found) == _MAX_COVARIATES:
            too_large(f"{path} has more than {_MAX_COVARIATES} members", field=path)
        found[key] = parsed[key]
    return found


def _dotted(path: str, key: str) -> str:
    """A member's name in messages, short and readable whatever the caller's key is."""
    name = shown_key(key)
    return f"{path}.{name}" if path else name


class _FieldReader:
    """Turns the fields of one body into what the core takes.

    Attributes:
        fields: members of the body; objects are dictionaries already, lists are still simdjson's.
        texts: lists of numbers that were cut out of the body, by the number that stands in their place.
        limits: on the length of lists, checked before any Python object is made for their items.
        n_brackets: opening ones in the body; None: nobody counted them.
    """

    def __init__(
        self, fields: dict[str, Any], texts: dict[int, ListText], limits: Limits, *, n_brackets: int | None
    ) -> None:
        self._fields = fields
        self._texts = texts
        self._limits = limits
        self._numbers = NumberReader(limits)
        # Otherwise there are more, perhaps among numbers, where simdjson would not tell.
        self._are_lists_flat = n_brackets == sum(_n_lists(name, value) for name, value in fields.items())

    def options(self) -> dict[str, Any]:
        """The small fields, checked by pydantic, as arguments of `EncodeRequest`."""
        given = {
            name: self._items(value, name) if isinstance(value, simdjson.Array) else value
            for name, value in self._fields.items()
            if name in _OPTION_NAMES
        }
        if not given:
            return {}
        if given.keys() == _OUTPUTS_ALONE and _are_outputs(given["outputs"]):
            # So do most requests of a cell or two; pydantic would take as long as reading its counts.
            return {"outputs": frozenset(map(_OUTPUTS.__getitem__, given["outputs"]))}
        try:
            options = dict(vars(EncodeOptions.model_validate(given)))
        except ValidationError as error:
            _refuse_option(error)
        if options["outputs"] is not None:
            options["outputs"] = frozenset(map(Output, options["outputs"]))
        return options

    def counts(self, field: str) -> Counts | None:
        """A matrix of counts in float64, genes as CSR however they were written; None where it is absent or null."""
        value = self._fields.get(field)
        if value is None:
            return None
        if isinstance(value, dict):
            parts = {part: self._vector(value.get(part), f"{field}.{part}", of) for part, of in _CSR_PARTS.items()}
            return CsrCounts(parts["indptr"], parts["indices"], parts["data"])
        sparse = field == "gene_counts"
        if isinstance(value, simdjson.Array) and self._are_lists_flat:
            rows = MatrixReader(self._limits, field, sparse=sparse)
            rows.add(value, suspect=False)
            return rows.counts()
        text = self._text(value)
        if text is None:
            malformed(f"{field} must be a list of rows, or an object of indptr, indices and data", field=field)
        return self._numbers.matrix(text, field, sparse=sparse)

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
            key: np.asarray(value, np.float64) if is_number(value) else self._vector(value, _dotted(path, key), "d")
            for key, value in ((key, self._uncut(value)) for key, value in self._object(path).items())
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

    def _uncut(self, value: object) -> object:
        """A covariate's value as it stood in the body; the list of one called `gene_counts` may have been cut out."""
        text = self._texts.get(value) if type(value) is int else None
        return value if text is None else parsed(simdjson.Parser(), text.body[text.start : text.stop], "the body")

    def _labels(self, value: object, field: str) -> Labels:
        value = self._uncut(value)
        if not isinstance(value, simdjson.Array):
            return Labels.one(_label(value, field, None))
        return Labels.per_cell([_label(item, field, index) for index, item in enumerate(self._items(value, field))])

    def _vector(self, value: object, field: str, of_type: NumberType) -> npt.NDArray[Any]:
        if isinstance(value, simdjson.Array) and self._are_lists_flat:
            return numbers_of(value, field, of_type, 0, of_rows=False, suspect=False)
        text = self._text(value)
        if text is None:
            malformed(f"{field} must be a list of numbers", field=field)
        return self._numbers.vector(text, field, of_type)

    def _text(self, value: object) -> ListText | None:
        """The text of a list, cut out before or not; None where `value` is no list."""
        if isinstance(value, simdjson.Array):
            text = cast(bytes, value.mini)  # its stub says str
            return ListText(text, 0, len(text))
        return self._texts.get(value) if type(value) is int else None


def _are_outputs(items: object) -> bool:
    return isinstance(items, tuple) and all([type(item) is str and item in _OUTPUTS for item in items])


def _n_lists(name: str, value: object) -> int:
    """How many opening brackets a field has, where no list is but the expected ones."""
    if isinstance(value, simdjson.Array):
        return 1 + (len(value) if name in _COUNT_FIELDS else 0)
    return sum(isinstance(item, simdjson.Array) for item in value.values()) if isinstance(value, dict) else 0


def _label(value: object, field: str, index: int | None) -> LabelValue:
    # Exact types: 1, 1.0, True and "1" are four labels.
    if type(value) not in (str, int, float, bool):
        malformed(f"{field} must hold labels alone: text, numbers, true or false", field=field, index=index)
    return cast(LabelValue, value)


def _refuse_option(error: ValidationError) -> NoReturn:
    """Raise the first thing that pydantic found, in the service's words; the value itself is not repeated."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field, *rest = first["loc"]
    kind = ErrorKind.INVALID if first["type"] in _OUT_OF_RANGE else ErrorKind.MALFORMED
    index = next((part for part in rest if isinstance(part, int)), None)
    where = f"{field}" if index is None else f"item {index} of {field}"
    reason = first["msg"].removeprefix("Input ")
    raise ServiceError(kind, f"{where} {reason}", field=str(field), index=index)
