"""The request's columns → the model's columns, by name, with a report of what did not fit."""

from __future__ import annotations

import collections
import dataclasses
import re
import threading
from collections.abc import Iterable

import numpy as np

from model.contract import Int32Array
from service.core.errors import invalid
from service.core.messages import Coverage, Notice

EXAMPLES = 5
_LONGEST_KEY = 64
# At most some 100 MB for each kind of column of a model, whatever names callers send.
_CACHED_MAPS = 16
_CACHED_NAMES = 100_000
_CACHED_CHARACTERS = 2_000_000
_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{11}(\.\d+)?")
_PROTEIN_DECORATION = re.compile(
    r"^(anti-(human|mouse)-|anti-|adt[-_])|([-_.]?(totalseq-?[a-d]?|totala|prot|adt)|[-.]1)$"
)
_VERSION_SUFFIX = re.compile(r"\.\d+$")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ColumnMap:
    """Where each column of a request goes.

    Attributes:
        n_columns: columns of the request.
        targets: int32 [n_columns], the model's column, or -1 for a name the model does not know.
        in_order: every column is known and they stand in ascending model order, so that sorted rows stay sorted.
        coverage: how many are known, missing and unknown.
        notices: what is missing and what is dropped.
    """

    n_columns: int
    targets: Int32Array
    in_order: bool
    coverage: Coverage
    notices: tuple[Notice, ...]


class ColumnIndex:
    """The columns of one kind of one model, ready to be looked up by name.

    Args:
        kind: `gene` or `protein`, for messages.
        names: the model's columns, in order.
    """

    def __init__(self, kind: str, names: tuple[str, ...]) -> None:
        self.kind = kind
        self.names = names
        self._positions = {name: position for position, name in enumerate(names)}
        everything = Coverage(len(names), len(names), 0, 0, 1.0)
        self._identity = ColumnMap(len(names), np.arange(len(names), dtype=np.int32), True, everything, ())
        # Callers send the same columns over and over; the maps belong to this model alone.
        self._maps: collections.OrderedDict[tuple[str, ...], ColumnMap] = collections.OrderedDict()
        self._lock = threading.Lock()

    def align(self, names: tuple[str, ...] | None) -> ColumnMap:
        """The map of a request's columns; None stands for exactly the model's, in order.

        Raises:
            ServiceError: INVALID, a name occurs twice, or none is known.
        """
        if names is None or names == self.names:
            return self._identity
        with self._lock:
            known = self._maps.get(names)
            if known is not None:
                self._maps.move_to_end(names)
                return known
        column_map = self._map(names)
        if len(names) > _CACHED_NAMES or sum(map(len, names)) > _CACHED_CHARACTERS:
            return column_map
        with self._lock:
            self._maps[names] = column_map
            if len(self._maps) > _CACHED_MAPS:
                self._maps.popitem(last=False)
        return column_map

    def _map(self, names: tuple[str, ...]) -> ColumnMap:
        field = f"{self.kind}s"
        if len(self._positions) != len(self.names):
            invalid(
                f"the model's own {self.kind} names repeat, so columns cannot be named; "
                f"leave {field} out and send the model's {len(self.names)} columns in order",
                field=field,
            )
        seen: set[str] = set()
        for index, name in enumerate(names):
            if name in seen:
                invalid(f"{self.kind} {shown(name)} occurs more than once", field=field, index=index)
            seen.add(name)
        targets = np.fromiter((self._positions.get(name, -1) for name in names), dtype=np.int32, count=len(names))
        known = targets[targets >= 0]
        if names and not known.size:
            invalid(
                f"no {self.kind} of the request is known to the model: "
                f"the request has {sample(names)}, the model {sample(self.names)}{self.guess(names)}",
                field=field,
                counts={"given": len(names), "known": 0},
            )
        notices = []
        missing = [name for name in self.names if name not in seen]
        if missing:
            notices.append(missing_notice(self.kind, missing, len(self.names)))
        extra = [name for name, target in zip(names, targets, strict=True) if target < 0]
        if extra:
            detail = f"{len(extra)} {self.kind} columns are unknown to the model and were dropped"
            detail += self._likely_renamed(missing, extra)
            notices.append(Notice(f"extra_{field}", detail, len(extra), tuple(extra[:EXAMPLES])))
        in_order = not extra and bool(np.all(known[1:] > known[:-1]))
        share = known.size / len(self.names) if self.names else 1.0
        coverage = Coverage(len(names), known.size, len(missing), len(extra), share)
        return ColumnMap(len(names), targets, in_order, coverage, tuple(notices))

    def _likely_renamed(self, missing: list[str], extra: list[str]) -> str:
        """Which dropped proteins may be missing ones under another name, for the caller to decide; never applied."""
        if self.kind != "protein":
            return ""
        by_stem = {_protein_stem(name): name for name in reversed(missing)}
        pairs = [(name, by_stem[_protein_stem(name)]) for name in extra if _protein_stem(name) in by_stem]
        if not pairs:
            return ""
        guesses = ", ".join(f"{shown(name)} may be its {shown(model_name)}" for name, model_name in pairs[:EXAMPLES])
        return f"; {guesses}: rename them if so"

    def guess(self, names: tuple[str, ...]) -> str:
        """Why so few names are known, as the end of a sentence; empty where there is no guess."""
        theirs, ours = _mostly_ensembl(names), _mostly_ensembl(self.names)
        if theirs and not ours:
            return "; the request's look like Ensembl ids, the model's like symbols"
        if ours and not theirs:
            return "; the model's look like Ensembl ids, the request's like symbols"
        known = len(self._positions.keys() & set(names))
        for normalise, difference in (
            (lambda name: _VERSION_SUFFIX.sub("", name), "a version suffix (.1)"),
            (str.casefold, "letter case"),
        ):
            if len({normalise(name) for name in self.names} & {normalise(name) for name in names}) > known:
                return f"; more would match without regard to {difference}"
        return ""


def missing_notice(kind: str, missing: list[str], n_model: int) -> Notice:
    """The warning that columns of the model were not in the request."""
    share = 1 - len(missing) / n_model
    detail = (
        f"{len(missing)} of the model's {n_model} {kind}s are not in the request and count 0 (coverage {share:.1%}); "
        "absent is not the same as not expressed"
    )
    return Notice(f"missing_{kind}s", detail, len(missing), tuple(missing[:EXAMPLES]))


def sample(names: Iterable[object]) -> str:
    """A few names, for a message."""
    few = [shown(name) for _, name in zip(range(EXAMPLES), names, strict=False)]
    return ", ".join(few) or "none"


def shown_key(key: str) -> str:
    """A caller's key as part of a field's name: itself, where that is printable and short."""
    return key if key.isprintable() and len(key) <= _LONGEST_KEY else shown(key)


def shown(name: object) -> str:
    """A caller's label in a message: quoted, escaped and short."""
    text = repr(name)
    return text if len(text) <= 60 else text[:57] + "..."


def _protein_stem(name: str) -> str:
    """A protein's name without what suppliers and readers append: CD3_TotalSeqB, CD3-1, anti-CD3 and cd3 are CD3."""
    return _PROTEIN_DECORATION.sub("", name.casefold()).replace("-", "").replace("_", "").replace(".", "")


def _mostly_ensembl(names: tuple[str, ...]) -> bool:
    some = names[:200]
    return 2 * sum(_ENSEMBL.fullmatch(name) is not None for name in some) > len(some)
