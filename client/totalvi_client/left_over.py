"""What an earlier run under the same key wrote and this one does not: it would be taken for this run's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from totalvi_client.elements import drop, read_element, storable, write_element

WRITTEN = "written"
"""Of a run's provenance: what it wrote, as `obsm['X_totalVI']`."""
MEAN, VARIANCE = "X_latent_qzm", "X_latent_qzv"


def written_by(told: Any) -> list[str] | None:
    """What a run wrote, by what stands in `uns`; None: it does not say."""
    if not isinstance(told, Mapping) or WRITTEN not in told:
        return None
    return [str(name) for name in np.atleast_1d(np.asarray(told[WRITTEN], dtype=object))]


def forget_in_memory(data: Any, key: str, written: Sequence[str]) -> None:
    """Remove what is left over from an AnnData or MuData; call it before `uns[key]` is written anew.

    Args:
        data: in memory.
        key: of the run.
        written: by it.
    """
    for place, name in _left_over(data.uns.get(key), key, written):
        holder = getattr(data, place)
        if name in holder:
            del holder[name]
    for other in [name for name in data.uns if name != key]:
        kept = _kept(data.uns[other], written)
        if kept is not None:
            data.uns[other] = {**data.uns[other], WRITTEN: storable(kept)}


def forget_in_file(group: Any, key: str, written: Sequence[str]) -> None:
    """As `forget_in_memory`, of an AnnData or MuData in an open HDF5 file."""
    told = group.get("uns", {})
    for place, name in _left_over(_read(told, key), key, written):
        if place in group and name in group[place]:
            drop(group[place], name)
    for other in [name for name in told if name != key]:
        kept = _kept(_read(told, other), written)
        if kept is not None:
            write_element(told[other], WRITTEN, storable(kept))


def _read(told: Any, key: str) -> Any:
    node = told.get(key)
    if not hasattr(node, "keys") or WRITTEN not in node:
        return None
    return {WRITTEN: read_element(node[WRITTEN])}


def _left_over(told: Any, key: str, written: Sequence[str]) -> list[tuple[str, str]]:
    # Only names that a run under this key can have written, whatever stands in the file.
    possible = [("obsm", MEAN), ("obsm", VARIANCE), ("obsm", f"{key}_samples")]
    possible.append(("obs", f"{key.removeprefix('X_')}_library_size"))
    before = set(written_by(told) or ()) - set(written)
    return [(place, name) for place, name in possible if f"{place}[{name!r}]" in before]


def _kept(told: Any, written: Sequence[str]) -> list[str] | None:
    """What is still a run's after another wrote in its place; None: all, or it does not say."""
    before = written_by(told)
    kept = [name for name in before or () if name not in written]
    return None if before is None or kept == before else kept
