"""The picture: a latent space in two dimensions, coloured by what is known of the cells.

It says what it shows: how the two dimensions were made, of how many cells, and how many of them are drawn. matplotlib's
state (backend, `pyplot` figures, rcParams) is left as it is.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from totalvi_client.projection import Method, project

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CELLS = 30_000
"""Cells drawn; of more, so many are drawn at random. UMAP of these takes about a minute of a processor."""

FORMATS = (".png", ".pdf", ".svg")

# Okabe and Ito (2008) without their yellow, which white paper swallows.
_FEW = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
# Paul Tol's "muted".
_SOME = ("#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499")
# Of Paul Tol's discrete rainbow, in an order that puts unlike colours side by side.
_MANY = (
    "#882E72", "#4EB265", "#DC050C", "#7BAFDE", "#F6C141", "#42150A", "#CAE0AB", "#1965B0", "#F1932D", "#AE76A3",
    "#90C987", "#72190E", "#5289C7", "#E8601C", "#D1BBD7", "#F7F056", "#437DBF", "#A5170E", "#BA8DB4", "#6195CF",
)  # fmt: skip
_GREY = "#BBBBBB"
_INK = "#333333"
_MOST_CODES = 20
"""Whole numbers of up to so many values are taken for labels (clusters), of more for measurements."""

_MOST_LETTERS = 28


@dataclasses.dataclass(frozen=True)
class Colouring:
    """What the cells of one panel are coloured by.

    Attributes:
        name: written above the panel.
        values: [cells]: numbers (a colour bar), or labels, of pandas or of numpy (a legend).
        unit: written at the colour bar.
    """

    name: str
    values: Any
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class Picture:
    """What was drawn: where, by which method, how many of how many cells."""

    path: Path
    method: str
    n_cells: int
    n_drawn: int


def uncertainty(variance: npt.NDArray[Any]) -> Colouring:
    """How unsure the encoder is of each cell: the mean over the latent dimensions of q(z)'s standard deviation.

    Args:
        variance: [cells, n_latent], of q(z).
    """
    spread = np.sqrt(np.asarray(variance, np.float64)).mean(axis=1)
    return Colouring("posterior uncertainty", spread, "mean standard deviation of q(z)")


def draw(
    latent: npt.NDArray[Any],
    out: str | os.PathLike[str],
    colourings: Sequence[Colouring] = (),
    *,
    title: str = "",
    method: Method = "auto",
    seed: int = 0,
    most_cells: int = MOST_CELLS,
) -> Picture:
    """Draw a latent space into a file, one panel a colouring.

    Args:
        latent: [cells, n_latent].
        out: the file, by whose ending (`.png`, `.pdf`, `.svg`) its form is chosen; replaced once the new one is whole.
        colourings: one a panel; none leaves the cells in one colour.
        title: above the panels.
        method: see `projection.project`.
        seed: of UMAP and of the choice of cells.
        most_cells: draw so many of them at most, chosen at random.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OSError: the file cannot be written.
        ValueError: the ending is none of the above; the latent is empty or not finite; a colouring has another length.
    """
    path = Path(out)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path.name}: pictures end in .png, .pdf or .svg")
    latent = np.asarray(latent)
    for colouring in colourings:
        if len(colouring.values) != len(latent):
            raise ValueError(f"{colouring.name} has {len(colouring.values)} values, but there are {len(latent)} cells")
    # Shuffled also where all are drawn, so that no label's points lie on top of all others.
    chosen = np.random.default_rng(seed).permutation(len(latent))[:most_cells]
    projection = project(latent[np.sort(chosen)], method, seed)
    points = projection.points[np.argsort(np.argsort(chosen))]

    try:
        import matplotlib.style  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "a picture needs matplotlib: pip install 'totalvi-client[plot]'", name="matplotlib"
        ) from None
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    # Not the user's own settings; and names inside an SVG that are the same each time.
    with matplotlib.style.context("default"), matplotlib.rc_context({"svg.hashsalt": "totalvi"}):
        panels: Sequence[Colouring | None] = list(colourings) or [None]
        figure = Figure(figsize=(5.6 * len(panels), 5.2), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, shown in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _panel(figure, axes, points, shown, chosen)
            axes.set_xlabel(projection.axes[0])
            axes.set_ylabel(projection.axes[1])
        some = "" if len(chosen) == len(latent) else f", of which {len(chosen):,} drawn at random are shown"
        figure.suptitle(title, fontsize=12, color=_INK)
        figure.supxlabel(
            f"{projection.method} of {latent.shape[1]} latent dimensions; {len(latent):,} cells{some}",
            fontsize=8,
            color="#777777",
        )
        _save(figure, path)
    return Picture(path, projection.method, len(latent), len(chosen))


def _panel(
    figure: Figure,
    axes: Axes,
    points: npt.NDArray[np.float64],
    colouring: Colouring | None,
    chosen: npt.NDArray[np.intp],
) -> None:
    """One scatter plot of points [drawn, 2]; `chosen` says which cell each of them is."""
    # Points that neither vanish among few nor smother each other among many.
    size = float(np.clip(9_000 / len(points), 1.2, 20))
    style: dict[str, Any] = {"s": size, "linewidths": 0, "alpha": 0.85, "rasterized": True}
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color("#CCCCCC")
    axes.margins(0.04)
    axes.set_box_aspect(1)
    if colouring is None:
        axes.scatter(*points.T, color=_FEW[0], **style)
        return
    axes.set_title(_shortened(colouring.name), fontsize=11, color=_INK)
    labels = _labels(colouring.values)
    if labels is None:
        _by_number(figure, axes, points, _numbers(colouring.values)[chosen], colouring.unit, style)
    else:
        codes, names = labels
        counts = np.bincount(codes[codes >= 0], minlength=len(names))  # of all cells, drawn or not
        _by_label(axes, points, codes[chosen], _legend(counts, names, int((codes < 0).sum())), style)


def _by_number(
    figure: Figure,
    axes: Axes,
    points: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    unit: str,
    style: dict[str, Any],
) -> None:
    known = np.isfinite(values)
    axes.scatter(*points[~known].T, color=_GREY, **style)
    if not known.any():
        axes.set_title(f"{axes.get_title()} (no values)", fontsize=11, color=_INK)
        return
    # A few extreme cells would leave all others in one colour.
    low, high = np.percentile(values[known], [1, 99])
    drawn = axes.scatter(
        points[known, 0], points[known, 1], c=values[known], cmap="viridis", vmin=low, vmax=high, **style
    )
    ends = (values[known] < low).any(), (values[known] > high).any()
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[ends]
    bar = figure.colorbar(drawn, ax=axes, shrink=0.7, pad=0.02, extend=extend, label=unit)
    if bar.solids is not None:
        bar.solids.set_alpha(1)
    bar.outline.set_visible(False)


def _by_label(
    axes: Axes,
    points: npt.NDArray[np.float64],
    codes: npt.NDArray[np.intp],
    legend: tuple[list[str], list[tuple[str, str]]],
    style: dict[str, Any],
) -> None:
    colours, entries = legend
    of_cell = np.array([*colours, _GREY])[codes]  # -1, no label, is the last
    # What is grey lies beneath.
    beneath = of_cell == _GREY
    for part in (beneath, ~beneath):
        axes.scatter(points[part, 0], points[part, 1], c=list(of_cell[part]), **style)
    for colour, text in entries:
        axes.scatter([], [], color=colour, s=36, linewidths=0, label=text)
    columns = 1 if len(entries) <= 24 else 2
    axes.legend(
        loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, ncols=columns, handletextpad=0.2
    )


def _legend(counts: npt.NDArray[np.intp], names: list[str], n_without: int) -> tuple[list[str], list[tuple[str, str]]]:
    """The colour of each label, and the legend's lines; the rarer of many labels share a grey."""
    if len(names) <= len(_FEW):
        palette: tuple[str, ...] = _FEW
    elif len(names) <= len(_SOME):
        palette = _SOME
    else:
        palette = _MANY
    own = sorted(np.argsort(-counts, kind="stable")[: len(palette)].tolist())
    colours = [_GREY] * len(names)
    for label, colour in zip(own, palette, strict=False):
        colours[label] = colour
    entries = [(colours[label], f"{_shortened(names[label])} ({counts[label]:,})") for label in own]
    if len(own) < len(names):
        rest = int(counts.sum() - counts[own].sum())
        entries.append((_GREY, f"{len(names) - len(own)} others ({rest:,})"))
    if n_without:
        entries.append((_GREY, f"no label ({n_without:,})"))
    return colours, entries


def _labels(values: Any) -> tuple[npt.NDArray[np.intp], list[str]] | None:
    """Codes (-1: none) and names of labels, in the order of a categorical, else sorted; None for numbers."""
    values = getattr(values, "array", values)  # of a pandas Series
    values = np.asarray(values) if isinstance(values, list | tuple) else values
    if hasattr(values, "codes") and hasattr(values, "categories"):
        codes, names = np.asarray(values.codes, np.intp), [str(name) for name in values.categories]
        used = np.unique(codes[codes >= 0])
        places = np.full(len(names) + 1, -1)
        places[used] = np.arange(len(used))
        return places[codes], [names[code] for code in used]
    if _is_numeric(values):
        numbers = _numbers(values)
        if np.isnan(numbers).any() or values.dtype.kind == "f" or len(np.unique(numbers)) > _MOST_CODES:
            return None
    texts = [None if _is_absent(value) else str(value) for value in np.asarray(values).tolist()]
    found = sorted({text for text in texts if text is not None}, key=_natural)
    places_of = {name: code for code, name in enumerate(found)}
    return np.array([-1 if text is None else places_of[text] for text in texts], np.intp), found


def _is_numeric(values: Any) -> bool:
    return getattr(getattr(values, "dtype", None), "kind", "") in ("i", "u", "f")


def _numbers(values: Any) -> npt.NDArray[np.float64]:
    """float64 [cells]; NaN where pandas has no value."""
    values = getattr(values, "array", values)
    if hasattr(values, "to_numpy"):
        return np.asarray(values.to_numpy(np.float64, na_value=np.nan))
    return np.asarray(values, np.float64)


def _is_absent(value: object) -> bool:
    """None, NaN, and pandas' NA, which refuses to be compared."""
    try:
        return value is None or bool(value != value)  # noqa: PLR0124
    except TypeError:
        return True


def _natural(text: str) -> list[tuple[bool, int, str]]:
    """Sorts `cluster 2` before `cluster 10`."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", text)]


def _shortened(text: str) -> str:
    # matplotlib reads what stands between two dollars as mathematics.
    text = text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"
    return text.replace("$", r"\$")


def _save(figure: Figure, path: Path) -> None:
    """Write the file beside its place first, so that whoever is interrupted keeps the old one."""
    form = path.suffix.lower()[1:]
    # What would make two pictures of the same cells differ.
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[form]
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=f".{form}")
    try:
        with os.fdopen(descriptor, "wb") as file:
            figure.savefig(file, format=form, dpi=160, metadata=metadata)
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
