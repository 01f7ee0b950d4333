"""The answers to the parts of a matrix, put together as the answer to the whole of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from totalvi_client.results import Encoding, Float32Array, Library, Normal, Notice, Samples, Validation

T = TypeVar("T")

ABOUT_COLUMNS: Final = frozenset(
    {"missing_genes", "missing_proteins", "extra_genes", "extra_proteins", "untrained_library_encoder"}
)
"""Codes of the warnings that are the same for every part, as they are of columns and options."""

_SUMMED: Final = "non_integer_counts"


def joined(parts: Sequence[Encoding]) -> Encoding:
    """The encoding of a matrix out of those of its parts, in their order.

    Its arrays equal what the unsplit call would have given to the last bit, where the parts are those of
    `encode_stream`, or have one `seed` and the `first_cell` of their place.

    Args:
        parts: one or more, of the same outputs and the same version of a model.

    Raises:
        ValueError: they are none, or do not belong together.
    """
    if not parts:
        raise ValueError("there are no parts to join")
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if len({(part.model, part.model_version) for part in parts}) > 1:
        raise ValueError("the parts are of different models or versions")
    return Encoding(
        model=first.model,
        model_version=first.model_version,
        n_cells=sum(part.n_cells for part in parts),
        # No names of no cells are the same as none given.
        cells=_each([part for part in parts if part.n_cells], lambda part: part.cells, _chained),
        qz=_each(parts, lambda part: part.qz, _normals),
        ql=_each(parts, lambda part: part.ql, _normals),
        z=_each(parts, lambda part: part.z, np.concatenate),
        library=_each(parts, lambda part: part.library, _libraries),
        samples=_each(parts, lambda part: part.samples, _samples),
        warnings=joined_notices(parts),
        request_id=first.request_id,
        timing=joined_timing(parts),
    )


def joined_validations(parts: Sequence[Validation]) -> Validation:
    """The same of checks; the columns are the same in all of them."""
    return dataclasses.replace(
        parts[0],
        n_cells=sum(part.n_cells for part in parts),
        warnings=joined_notices(parts),
        timing=joined_timing(parts),
    )


def joined_notices(parts: Iterable[Encoding | Validation]) -> tuple[Notice, ...]:
    """What is to be known of the parts, each once; the fractional counts of all of them in one notice."""
    found: dict[Any, Notice] = {}
    for notice in (notice for part in parts for notice in part.warnings):
        if notice.code != _SUMMED:
            found.setdefault(notice, notice)
            continue
        # The sentence begins with the count; what is behind it tells genes from proteins.
        rest = notice.detail.removeprefix(str(notice.count))
        count = notice.count + (found[rest].count if rest in found else 0)
        found[rest] = dataclasses.replace(notice, count=count, detail=f"{count}{rest}")
    return tuple(found.values())


def joined_timing(parts: Iterable[Encoding | Validation]) -> Mapping[str, float]:
    """Milliseconds of all parts, by phase."""
    total: dict[str, float] = {}
    for part in parts:
        for phase, milliseconds in part.timing.items():
            total[phase] = total.get(phase, 0.0) + milliseconds
    return total


def _each(parts: Sequence[Encoding], get: Callable[[Encoding], T | None], join: Callable[[list[T]], T]) -> T | None:
    values = [value for value in map(get, parts) if value is not None]
    if not values:
        return None
    if len(values) < len(parts):
        raise ValueError("the parts have different outputs")
    return join(values)


def _chained(names: list[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(name for some in names for name in some)


def _normals(normals: list[Normal]) -> Normal:
    return Normal(np.concatenate([one.mean for one in normals]), np.concatenate([one.variance for one in normals]))


def _libraries(libraries: list[Library]) -> Library:
    latent = [one.latent for one in libraries if one.latent is not None]
    return Library(np.concatenate([one.observed for one in libraries]), np.concatenate(latent) if latent else None)


def _samples(samples: list[Samples]) -> Samples:
    if len({one.seed for one in samples}) > 1:
        raise ValueError("the parts were drawn with different seeds")

    def along(name: str) -> Float32Array:
        return np.concatenate([getattr(one, name) for one in samples], axis=1)

    return Samples(
        seed=samples[0].seed,
        latent_z=along("latent_z"),
        latent_l=along("latent_l"),
        untran_latent_z=along("untran_latent_z"),
        untran_latent_l=along("untran_latent_l"),
    )
