"""The picture: what is in the file, and what is said in it."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from totalvi_client import plot
from totalvi_client.plot import Colouring, draw, uncertainty

matplotlib = pytest.importorskip("matplotlib")
pd = pytest.importorskip("pandas")

N = 90
LATENT = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are drawn, to be looked into."""
    drawn: list[Any] = []
    save = plot._save

    def keep(figure: Any, path: Path) -> None:
        drawn.append(figure)
        save(figure, path)

    monkeypatch.setattr(plot, "_save", keep)
    return drawn


def legend(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def colours(figure: Any) -> list[tuple[float, ...]]:
    """Distinct colours of the legend's lines."""
    return [tuple(handle.get_facecolor()[0]) for handle in figure.axes[0].get_legend().legend_handles]


def size_of(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def test_a_png_with_one_panel_a_colouring(tmp_path: Path, figures: list[Any]) -> None:
    panels = [Colouring("batch", np.array(["a", "b"] * (N // 2))), uncertainty(np.full((N, 4), 4.0))]
    picture = draw(LATENT, tmp_path / "two.png", panels, title="cells.h5ad", method="pca")
    assert (picture.method, picture.n_cells, picture.n_drawn) == ("PCA", N, N)
    wide, high = size_of(picture.path)
    assert wide > 1.9 * high
    (figure,) = figures
    assert figure.get_suptitle() == "cells.h5ad"
    assert figure.get_supxlabel() == "PCA of 4 latent dimensions; 90 cells"
    assert [axes.get_title() for axes in figure.axes[:2]] == ["batch", "posterior uncertainty"]
    assert figure.axes[2].get_ylabel() == "mean standard deviation of q(z)"
    assert figure.axes[0].get_xlabel().startswith("PC 1 (")
    assert legend(figure) == ["a (45)", "b (45)"]


def test_uncertainty_is_the_mean_standard_deviation() -> None:
    colouring = uncertainty(np.array([[1.0, 9.0], [4.0, 4.0]], np.float32))
    assert colouring.values.tolist() == [2.0, 2.0]


def test_the_cells_keep_their_colours(tmp_path: Path, figures: list[Any]) -> None:
    """Points are shuffled: each must take its label along."""
    line = np.column_stack([np.arange(N), np.zeros(N)])
    draw(line, tmp_path / "line.png", [Colouring("half", np.arange(N) < N // 2)], method="pca")
    draw(line, tmp_path / "line.png", [Colouring("place", np.arange(N) * 1.0)], method="pca")
    by_label, by_number = figures
    points = by_label.axes[0].collections[1]
    first = points.get_facecolors()[points.get_offsets()[:, 0].argmin()]
    for place, colour in zip(points.get_offsets()[:, 0], points.get_facecolors(), strict=True):
        assert tuple(colour) == tuple(first if place < 0 else colour)
        assert (tuple(colour) == tuple(first)) == (place < 0)
    points = by_number.axes[0].collections[1]
    assert np.allclose(points.get_array(), points.get_offsets()[:, 0] + (N - 1) / 2)


def test_of_huge_data_some_are_drawn_and_the_picture_says_so(tmp_path: Path, figures: list[Any]) -> None:
    picture = draw(LATENT, tmp_path / "some.png", [Colouring("n", np.arange(N) * 1.0)], method="pca", most_cells=10)
    assert picture.n_drawn == 10
    assert figures[0].get_supxlabel().endswith("; 90 cells, of which 10 drawn at random are shown")
    values = figures[0].axes[0].collections[1].get_array()
    assert len(set(values.tolist())) == 10
    again = draw(LATENT, tmp_path / "again.png", [Colouring("n", np.arange(N) * 1.0)], method="pca", most_cells=10)
    assert again.path.read_bytes() == picture.path.read_bytes()
    draw(LATENT, tmp_path / "third.png", [Colouring("third", np.arange(N) % 3)], method="pca", most_cells=10)
    assert legend(figures[2]) == ["0 (30)", "1 (30)", "2 (30)"], "of all cells"


@pytest.mark.parametrize("n_labels", [1, 7, 8, 9, 10, 20, 21, 90])
def test_each_frequent_label_has_a_colour_of_its_own(tmp_path: Path, figures: list[Any], n_labels: int) -> None:
    labels = np.array([f"type {i % n_labels}" for i in range(N)])
    draw(LATENT, tmp_path / "many.png", [Colouring("type", labels)], method="pca")
    texts = legend(figures[0])
    assert len(set(colours(figures[0]))) == len(texts) == min(n_labels, 21)
    if n_labels > 20:
        assert texts[-1].startswith(f"{n_labels - 20} others (")
    assert sum(int(text.rsplit("(")[-1][:-1]) for text in texts) == N


def test_labels_of_every_kind_are_told_from_numbers(tmp_path: Path, figures: list[Any]) -> None:
    third = np.arange(N) % 3
    kinds = {
        "categorical": pd.Series(pd.Categorical.from_codes(third, ["z", "a", "m"])),
        "unused": pd.Categorical.from_codes(third - 1, ["z", "a", "never"]),
        "clusters": third,
        "flag": third == 0,
        "text": np.array(["ten 10", "ten 9", None], object)[third],
        "pandas text": pd.Series(["x", "y", None] * (N // 3), dtype="string"),
        "list": ["b", "a", "a"] * (N // 3),
        "nothing": np.array([None] * N, object),
    }
    for name, values in kinds.items():
        draw(LATENT, tmp_path / "kinds.png", [Colouring(name, values)], method="pca")
    assert dict(zip(kinds, map(legend, figures), strict=True)) == {
        "categorical": ["z (30)", "a (30)", "m (30)"],
        "unused": ["z (30)", "a (30)", "no label (30)"],
        "clusters": ["0 (30)", "1 (30)", "2 (30)"],
        "flag": ["False (60)", "True (30)"],
        "text": ["ten 9 (30)", "ten 10 (30)", "no label (30)"],
        "pandas text": ["x (30)", "y (30)", "no label (30)"],
        "list": ["a (60)", "b (30)"],
        "nothing": ["no label (90)"],
    }


def test_numbers_have_a_bar_that_a_few_extremes_do_not_stretch(tmp_path: Path, figures: list[Any]) -> None:
    values = np.linspace(0, 1, N)
    values[0], values[1] = 1e6, np.nan
    draw(LATENT, tmp_path / "numbers.png", [Colouring("score", pd.Series(values), "units")], method="pca")
    axes, bar = figures[0].axes
    unknown, known = axes.collections
    assert (len(unknown.get_offsets()), len(known.get_offsets())) == (1, N - 1)
    assert known.get_clim()[1] < 1e6
    assert bar.get_ylabel() == "units"
    draw(LATENT, tmp_path / "numbers.png", [Colouring("score", np.full(N, np.nan))], method="pca")
    assert figures[1].axes[0].get_title() == "score (no values)"
    draw(LATENT, tmp_path / "counts.png", [Colouring("n_counts", np.arange(N))], method="pca")
    assert len(figures[2].axes) == 2, "many whole numbers are measurements"
    nullable = pd.Series(np.arange(N)).astype("Int64").replace(3, pd.NA)
    draw(LATENT, tmp_path / "nullable.png", [Colouring("n_counts", nullable)], method="pca")
    assert [len(points.get_offsets()) for points in figures[3].axes[0].collections] == [1, N - 1]


def test_names_that_matplotlib_would_read_as_mathematics(tmp_path: Path, figures: list[Any]) -> None:
    labels = np.array(["$\\frac", "a_b$c", "x" * 99] * (N // 3))
    draw(LATENT, tmp_path / "odd.png", [Colouring("cost in $ or $$", labels)], method="pca")
    assert sorted(map(len, legend(figures[0])))[-1] == plot._MOST_LETTERS + len(" (30)")


def test_nothing_of_the_users_matplotlib_is_touched(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    had_pyplot = "matplotlib.pyplot" in sys.modules
    draw(LATENT, tmp_path / "a.png", [Colouring("n", np.arange(N) * 1.0)], method="pca")
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def test_the_users_own_defaults_do_not_change_the_picture(tmp_path: Path) -> None:
    plain = draw(LATENT, tmp_path / "plain.png", method="pca").path.read_bytes()
    with matplotlib.rc_context({"figure.facecolor": "red", "font.size": 30, "savefig.dpi": 20}):
        assert draw(LATENT, tmp_path / "own.png", method="pca").path.read_bytes() == plain


def test_other_forms_and_what_is_no_form(tmp_path: Path) -> None:
    assert draw(LATENT, tmp_path / "a.PDF", method="pca").path.read_bytes().startswith(b"%PDF")
    vector = draw(LATENT, tmp_path / "a.svg", [Colouring("n", np.arange(N) * 1.0)], method="pca").path.read_text()
    assert vector.count("<image") >= 1, "points are pixels in vector pictures too"
    assert "PathCollection" not in vector
    with pytest.raises(ValueError, match=r"a\.jpg: pictures end in \.png, \.pdf or \.svg"):
        draw(LATENT, tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="batch has 3 values, but there are 90 cells"):
        draw(LATENT, tmp_path / "a.png", [Colouring("batch", ["a", "b", "c"])])


def test_a_picture_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", fail)
        with pytest.raises(OSError, match="full"):
            draw(LATENT, path, method="pca")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    draw(LATENT, path, method="pca")
    size_of(path)
    with pytest.raises(FileNotFoundError):
        draw(LATENT, tmp_path / "missing" / "a.png", method="pca")


def test_without_matplotlib_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'totalvi-client\[plot\]'"):
        draw(LATENT, tmp_path / "a.png", method="pca")
