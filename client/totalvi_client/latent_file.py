"""What a picture needs of an encoded file: the latent space, and what its cells may be coloured by."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from totalvi_client.damage import damaged
from totalvi_client.errors import InputError
from totalvi_client.files import open_hdf5
from totalvi_client.left_over import VARIANCE, written_by
from totalvi_client.plot import Colouring, uncertainty

UNCERTAINTY = "uncertainty"
"""What is said instead of a column's name to colour by the posterior's standard deviation."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LatentFile:
    """Of an encoded file, without its counts.

    Attributes:
        latent: [cells, n_latent].
        colourings: those that were asked for.
        title: the file, and the model that made it, where it says.
    """

    latent: npt.NDArray[Any]
    colourings: tuple[Colouring, ...]
    title: str


def read_latent_file(path: Path, key: str, colours: Sequence[str] | None) -> LatentFile:
    """Read the latent space of a file, and some columns.

    Args:
        path: `.h5ad` or `.h5mu`.
        key: of `obsm`.
        colours: columns of `obs`, or `uncertainty`; None: the batch's column where the file tells it.

    Raises:
        InputError: the file, the key or a column is not there.
    """
    with damaged(path), open_hdf5(path) as file:
        groups = _groups(file)
        with_key = [group for group in groups if "obsm" in group and key in group["obsm"]]
        if not with_key:
            known = sorted({str(name) for group in groups if "obsm" in group for name in group["obsm"]})
            raise InputError(
                f"{path} has no obsm[{key!r}] (there is: {', '.join(known) or 'nothing'}); encode it first, or give "
                "key= the one to draw"
            )
        group = with_key[0]
        told = _read(group["uns"][key]) if "uns" in group and key in group["uns"] else {}
        told = told if isinstance(told, dict) else {}
        if colours is None:
            batch = re.match(r"obs\['(.*?)'\]", str(told.get("batch", "")))
            colours = [batch[1]] if batch and batch[1] in columns_of(groups) else []
        written = written_by(told)
        is_another = written is not None and f"obsm[{VARIANCE!r}]" not in written
        if UNCERTAINTY in colours and VARIANCE in group["obsm"] and is_another:
            raise InputError(
                f"obsm[{VARIANCE!r}] of {path} is of another run than obsm[{key!r}], so nothing is known of its "
                f"uncertainty: encode it again with key={key!r} and distribution=True"
            )
        found = tuple(_colouring(path, groups, group, name) for name in colours)
        model = f": model {told['model']}, version {told['model_version']}" if "model_version" in told else ""
        return LatentFile(np.asarray(_read(group["obsm"][key])), found, f"{path.name}{model}")


def check_colours(path: Path, colours: Sequence[str]) -> None:
    """Refuse columns that a file lacks, before it is encoded.

    Raises:
        InputError: naming those that there are.
    """
    if path.is_dir():
        return _check(path, set(), colours)
    with damaged(path), open_hdf5(path) as file:
        _check(path, columns_of(_groups(file)), colours)


def columns_of(groups: Sequence[Any]) -> set[str]:
    """Names of the columns of `obs`."""
    return {
        str(name)
        for group in groups
        if "obs" in group and hasattr(group["obs"], "keys")
        for name in group["obs"]
        if name not in ("__categories", group["obs"].attrs.get("_index", "_index"))
    }


def _check(path: Path, known: set[str], colours: Sequence[str]) -> None:
    for name in colours:
        if name != UNCERTAINTY and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"{path} has no column {name!r} in obs to colour by{hint} "
                f"(there is: {', '.join(sorted(known)) or 'none'}; or {UNCERTAINTY})"
            )


def _colouring(path: Path, groups: Sequence[Any], group: Any, name: str) -> Colouring:
    if name == UNCERTAINTY:
        if VARIANCE not in group["obsm"]:
            raise InputError(
                f"{path} has no obsm[{VARIANCE!r}], so nothing of uncertainty: encode it with distribution=True"
            )
        return uncertainty(_read(group["obsm"][VARIANCE]))
    _check(path, columns_of(groups), [name])
    holder = next(one for one in groups if name in one.get("obs", ()))
    column = holder["obs"][name]
    if "categories" in column.attrs:  # as anndata wrote categories before 0.8
        categories = [*_texts(holder["obs"][column.attrs["categories"]][:]), None]  # -1 is none
        return Colouring(name, np.array(categories, object)[np.asarray(column)])
    return Colouring(name, _read(column))


def _groups(file: Any) -> list[Any]:
    """The file's own AnnData, or a MuData's and those of its modalities."""
    return [file, *file["mod"].values()] if "mod" in file else [file]


def _texts(values: npt.NDArray[Any]) -> list[Any]:
    return [value.decode() if isinstance(value, bytes) else value for value in values.tolist()]


def _read(element: Any) -> Any:
    try:
        from anndata.io import read_elem  # noqa: PLC0415
    except ImportError:
        from anndata.experimental import read_elem  # noqa: PLC0415

    return read_elem(element)
