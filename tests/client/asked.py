"""What other callers of the tests ask, and what they are answered, in the client's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.end_to_end.asking import Answer, Ask
from totalvi_client import Cells, Encoding, Notice


def given(ask: Ask) -> dict[str, Any]:
    """An ask as the arguments of `encode`."""
    return {**of_all(ask), **of_cells(ask)}


def of_all(ask: Ask) -> dict[str, Any]:
    """What of an ask holds for all cells: the arguments of `encode_stream`."""
    named = {name: getattr(ask, name) for name in ("genes", "proteins", "model", "version", "outputs")}
    return named | dict(ask.options)


def of_cells(ask: Ask) -> dict[str, Any]:
    """What of an ask belongs to each cell: the arguments of `Cells`."""
    return {
        "gene_counts": ask.gene_counts,
        "protein_counts": ask.protein_counts,
        "batch": ask.batch,
        "categorical_covariates": ask.categorical,
        "continuous_covariates": ask.continuous,
        "cells": ask.cells,
    }


def slices(ask: Ask, ends: Sequence[int]) -> list[Cells]:
    """Its cells, cut before the cells `ends`."""
    bounds = zip([0, *ends], [*ends, None], strict=True)
    return [Cells(**of_cells(ask.part(slice(start, stop)))) for start, stop in bounds]


def answered(found: Encoding) -> Answer:
    """An encoding as the other callers of the tests read answers."""
    arrays: dict[str, Any] = {"z": found.z}
    for name in ("qz", "ql"):
        if (normal := getattr(found, name)) is not None:
            arrays |= {f"{name}_mean": normal.mean, f"{name}_variance": normal.variance}
    if found.library is not None:
        arrays |= {"library_observed": found.library.observed, "library_latent": found.library.latent}
    facts: dict[str, Any] = {"model": found.model, "model_version": found.model_version, "n_cells": found.n_cells}
    if found.samples is not None:
        facts["seed"] = found.samples.seed
        for name in ("latent_z", "latent_l", "untran_latent_z", "untran_latent_l"):
            arrays[name] = getattr(found.samples, name)
    if found.cells is not None:
        facts["cells"] = list(found.cells)
    there = {name: values for name, values in arrays.items() if values is not None}
    return Answer(there, facts, list(map(_warning, found.warnings)), {})


def _warning(notice: Notice) -> dict[str, Any]:
    return {
        "code": notice.code,
        "detail": notice.detail,
        "count": notice.count,
        "examples": list(notice.examples),
    }
