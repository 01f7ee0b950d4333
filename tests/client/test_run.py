"""From file to file: what is copied, what is added, and what an interruption costs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from tests.client.fake_client import N_LATENT, FakeClient, card
from tests.client.made_up import (
    BATCH,
    CELLS,
    COUNTS,
    FORMS,
    N_CELLS,
    PROTEIN_COUNTS,
    Z,
    adata,
    mdata,
    quiet,
    read,
    tenx_h5,
    written,
)  # fmt: skip
from tests.saves import ROOT
from totalvi_client import InputError, ModelChanged
from totalvi_client.run import check_file, encode_file

PATIENCE_S = 60.0
EVERYTHING = {"distribution": True, "library": True, "n_samples": 2}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return written(adata(), tmp_path / "cells.h5ad")


@pytest.mark.parametrize("form", FORMS)
def test_h5ad_of_every_form(form: str, tmp_path: Path) -> None:
    source = written(adata(FORMS[form](COUNTS)), tmp_path / "in.h5ad")

    report = encode_file(source, tmp_path / "out.h5ad", FakeClient(), slice_cells=7)

    data = read(tmp_path / "out.h5ad")
    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert data.obsm["X_totalVI"].dtype == np.float32
    assert data.obs_names.tolist() == CELLS
    assert report.out == str(tmp_path / "out.h5ad")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5ad", "out.h5ad"]


def test_a_layer_of_a_file(tmp_path: Path) -> None:
    data = adata(np.log1p(COUNTS), layers={"counts": FORMS["csc"](COUNTS), "other": COUNTS})
    source = written(data, tmp_path / "in.h5ad")

    with pytest.raises(InputError, match="give layer='counts'"):
        encode_file(source, tmp_path / "out.h5ad", FakeClient())
    encode_file(source, tmp_path / "out.h5ad", FakeClient(), layer="counts")

    assert np.array_equal(read(tmp_path / "out.h5ad").obsm["X_totalVI"], Z)


def test_raw_of_a_file(tmp_path: Path) -> None:
    data = adata(np.log1p(COUNTS)[:, :3], genes=["G0", "G1", "G2"])
    data.raw = adata()
    source = written(data, tmp_path / "in.h5ad")

    report = encode_file(source, tmp_path / "out.h5ad", FakeClient())

    assert np.array_equal(read(tmp_path / "out.h5ad").obsm["X_totalVI"], Z)
    assert report.counts.startswith("counts from raw of the cells")


def test_all_else_is_as_it_was(tmp_path: Path) -> None:
    data = adata(layers={"more": FORMS["csc"](COUNTS)})
    data.obsm["X_pca"] = np.arange(2.0 * N_CELLS).reshape(N_CELLS, 2)
    data.obs["kind"] = pd.Categorical(["a"] * N_CELLS, categories=["z", "a"])
    data.uns["nested"] = {"a": {"b": np.arange(3)}, "text": "x"}
    source = written(data, tmp_path / "in.h5ad")
    with h5py.File(source, "r+") as file:
        # What no anndata can read stays, too.
        file.create_group("foreign")["thing"] = np.arange(5)
        file["uns"].attrs["strange"] = 7
    before = source.read_bytes()

    encode_file(source, tmp_path / "out.h5ad", FakeClient(), **EVERYTHING, seed=1)

    assert source.read_bytes() == before
    old, new = contents(source), contents(tmp_path / "out.h5ad")
    added = {name for name in new if name not in old}
    kept = {"X_totalVI", "X_totalVI_samples", "X_latent_qzm", "X_latent_qzv"}
    assert {name for name in added if not name.startswith("uns/X_totalVI")} == {
        *(f"obsm/{name}" for name in kept),
        "obs/totalVI_library_size",
    }
    assert {name: new[name] for name in old} == old


def test_what_was_there_under_the_key_is_replaced(source: Path, tmp_path: Path) -> None:
    encode_file(source, tmp_path / "one.h5ad", FakeClient(), **EVERYTHING, seed=1)
    encode_file(tmp_path / "one.h5ad", tmp_path / "two.h5ad", FakeClient(), library=True)

    data = read(tmp_path / "two.h5ad")
    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert list(data.obs.columns) == ["batch", "totalVI_library_size"]
    assert data.uns["X_totalVI"]["n_samples"] == 0


def test_what_an_earlier_run_wrote_goes_with_it(source: Path, tmp_path: Path) -> None:
    for path in (source, written(mdata(), tmp_path / "cells.h5mu")):
        encode_file(path, path, FakeClient(), **EVERYTHING, seed=1)
        encode_file(path, path, FakeClient(), distribution=True, key="X_other")
        told = read(path).uns
        assert "obsm['X_latent_qzv']" not in told["X_totalVI"]["written"]

        encode_file(path, path, FakeClient())
        data = read(path)
        assert {"X_latent_qzm", "X_latent_qzv"} <= set(data.obsm)
        encode_file(path, path, FakeClient(), key="X_other")

        data = read(path)
        for part in [data, *([data.mod["rna"]] if path.suffix == ".h5mu" else [])]:
            assert {"X_totalVI", "X_other"} == set(part.obsm) - {"protein_expression", "rna", "prot"}
            assert "totalVI_library_size" not in part.obs


def test_into_the_same_file(source: Path) -> None:
    encode_file(source, source, FakeClient(), library=True)
    data = read(source)
    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert np.array_equal(data.obs["totalVI_library_size"], COUNTS.sum(axis=1))


def test_h5mu(tmp_path: Path) -> None:
    source = written(mdata(), tmp_path / "in.h5mu")

    report = encode_file(source, tmp_path / "out.h5mu", FakeClient(), slice_cells=20, library=True)

    data = read(tmp_path / "out.h5mu")
    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert np.array_equal(data.mod["rna"].obsm["X_totalVI"], Z)
    assert data.mod["rna"].uns["X_totalVI"]["model"] == "small"
    assert "X_totalVI" not in data.mod["prot"].obsm
    assert report.batch == "obs['batch'] of the modality 'rna'"


def test_csv_and_npz(source: Path, tmp_path: Path) -> None:
    for name in ("out.csv", "out.npz"):
        encode_file(source, tmp_path / name, FakeClient(), slice_cells=7, **EVERYTHING, seed=1)

    table = pd.read_csv(tmp_path / "out.csv", index_col=0)
    arrays = np.load(tmp_path / "out.npz")
    assert table.index.tolist() == arrays["cells"].tolist() == CELLS
    assert np.array_equal(table[[f"X_totalVI_{i}" for i in range(N_LATENT)]].to_numpy(dtype=np.float32), Z)
    assert np.array_equal(arrays["X_totalVI"], Z)
    assert arrays["X_totalVI_samples"].shape == (N_CELLS, 2, N_LATENT)
    assert np.array_equal(arrays["totalVI_library_size"], COUNTS.sum(axis=1))


def test_numbers_of_a_csv_are_exact(source: Path, tmp_path: Path) -> None:
    class Odd(FakeClient):
        def _encoding(self, *arguments: Any) -> Any:
            encoding = super()._encoding(*arguments)
            encoding.z[:] = np.float32(1) / (encoding.z + np.float32(3.3))
            return encoding

    encode_file(source, tmp_path / "out.csv", Odd())
    encode_file(source, tmp_path / "out.npz", Odd())

    table = pd.read_csv(tmp_path / "out.csv", index_col=0)
    assert np.array_equal(table.to_numpy(dtype=np.float32), np.load(tmp_path / "out.npz")["X_totalVI"])


def test_check_writes_nothing(source: Path, tmp_path: Path) -> None:
    client = FakeClient()
    report = check_file(source, client)
    assert report.source == str(source)
    assert not client.sent
    assert [path.name for path in tmp_path.iterdir()] == ["cells.h5ad"]


# Interrupted, and gone on with


def interrupted(source: Path, out: Path, after: int = 3, **choices: Any) -> None:
    with pytest.raises(ConnectionAbortedError):
        encode_file(source, out, FakeClient(fails_after=after), slice_cells=7, **choices)
    assert not out.exists()


@pytest.mark.parametrize("suffix", [".h5ad", ".csv", ".npz"])
@pytest.mark.parametrize("after", [0, 1, 7])
def test_it_goes_on_where_it_stopped(source: Path, tmp_path: Path, suffix: str, after: int) -> None:
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    encode_file(source, whole, FakeClient(), slice_cells=7, **EVERYTHING, seed=5)
    interrupted(source, out, after, **EVERYTHING, seed=5)
    client, seen = FakeClient(), []

    report = encode_file(
        source, out, client, slice_cells=7, **EVERYTHING, seed=5, progress=lambda *done: seen.append(done)
    )

    assert out.read_bytes() == whole.read_bytes()
    assert report.resumed_cells == 7 * after
    assert seen[0] == (7 * after, N_CELLS)
    assert seen[-1] == (N_CELLS, N_CELLS)
    assert sum(cells.gene_counts.shape[0] for cells in client.sent) == N_CELLS - 7 * after
    assert client.options["first_cell"] == 7 * after
    assert not out.with_name(f"{out.name}.part").exists()


@pytest.mark.parametrize("kind", ["h5mu", "10x"])
def test_other_kinds_go_on_too(tmp_path: Path, kind: str) -> None:
    if kind == "h5mu":
        source, suffix, choices = written(mdata(), tmp_path / "in.h5mu"), ".h5mu", {}
    else:
        source, suffix, choices = tenx_h5(tmp_path / "in.h5"), ".h5ad", {"batch": "b0"}
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    encode_file(source, whole, FakeClient(), slice_cells=7, **choices)
    interrupted(source, out, **choices)

    report = encode_file(source, out, FakeClient(), slice_cells=7, **choices)

    assert report.resumed_cells == 21
    assert out.read_bytes() == whole.read_bytes()


def test_a_link_and_the_rights_of_a_file_stay(source: Path, tmp_path: Path) -> None:
    source.chmod(0o640)
    link = tmp_path / "link.h5ad"
    link.symlink_to(source)

    encode_file(link, link, FakeClient())

    assert link.is_symlink()
    assert source.stat().st_mode & 0o777 == 0o640
    assert np.array_equal(read(source).obsm["X_totalVI"], Z)


def test_it_may_be_interrupted_again_and_again(source: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.h5ad", tmp_path / "out.h5ad"
    encode_file(source, whole, FakeClient(), slice_cells=7)
    for _ in range(7):
        interrupted(source, out, 1)
    assert encode_file(source, out, FakeClient(), slice_cells=7).resumed_cells == 49
    assert out.read_bytes() == whole.read_bytes()


def test_a_seed_that_was_drawn_is_kept(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    first = FakeClient(fails_after=3)
    with pytest.raises(ConnectionAbortedError):
        encode_file(source, out, first, slice_cells=7, n_samples=1)
    second = FakeClient()

    report = encode_file(source, out, second, slice_cells=7, n_samples=1)

    assert report.seed == first.options["seed"] == second.options["seed"]
    assert report.resumed_cells == 21
    expected = Z + np.arange(N_CELLS, dtype=np.float32)[:, None] + report.seed % 1000
    assert np.array_equal(read(out).obsm["X_totalVI_samples"][:, 0], expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_map": {"b0": "b1"}}, """batch_map: None then, [["'b0'", "'b1'"]] now"""),
        ({"slice_cells": 8}, "slice_cells: 7 then, 8 now"),
        ({"n_samples": 1, "seed": 3}, "n_samples: 0 then, 1 now; seed: None then, 3 now"),
        ({"key": "X_other"}, "key: 'X_totalVI' then, 'X_other' now"),
    ],
)
def test_another_question_leaves_what_is_finished_alone(
    source: Path, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    out, client = tmp_path / "out.h5ad", FakeClient()
    interrupted(source, out)
    before = (tmp_path / "out.h5ad.part").read_bytes()

    with pytest.raises(InputError, match=f"keeps 21 cells .*{re.escape(f'({says})')}.* --restart"):
        encode_file(source, out, client, **({"slice_cells": 7} | change))

    assert (tmp_path / "out.h5ad.part").read_bytes() == before
    assert not client.sent
    assert encode_file(source, out, client, slice_cells=7).resumed_cells == 21


def test_names_of_proteins_are_part_of_the_question_each_of_them(tmp_path: Path) -> None:
    """Of a long Index pandas shows the ends alone."""
    data = adata(proteins=False)
    data.obsm["adt"] = np.zeros((N_CELLS, 200), dtype=np.float32)
    source, out = written(data, tmp_path / "in.h5ad"), tmp_path / "out.h5ad"
    names = [*card().proteins, *(f"other{i}" for i in range(197))]
    swapped = [*names[:100], names[101], names[100], *names[102:]]
    interrupted(source, out, proteins="adt", protein_names=pd.Index(names))

    with pytest.raises(InputError, match=r"\(another protein_names\)"):
        encode_file(source, out, FakeClient(), slice_cells=7, proteins="adt", protein_names=pd.Index(swapped))
    report = encode_file(source, out, FakeClient(), slice_cells=7, proteins="adt", protein_names=names)
    assert report.resumed_cells == 21


def test_a_map_of_labels_of_several_types_is_part_of_the_question(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    written(adata(batch=np.arange(N_CELLS) % 2), source)
    choices = {"batch_map": {0: "b0", "1": "b1"}, "protein_names": None}
    interrupted(source, out, **choices)
    assert encode_file(source, out, FakeClient(), slice_cells=7, **choices).resumed_cells == 21


def test_another_model_or_another_file_is_another_question(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    interrupted(source, out)
    with pytest.raises(InputError, match=r"\(another model digest; model version: 2 then, 3 now\)"):
        encode_file(source, out, FakeClient(card(sha256="cd" * 32, version="3")), slice_cells=7)
    os.utime(source, ns=(1, 1))
    with pytest.raises(InputError, match=r"\(another source file\)"):
        encode_file(source, out, FakeClient(), slice_cells=7)
    assert encode_file(source, out, FakeClient(), slice_cells=7, resume=False).resumed_cells == 0


class Exchanged(FakeClient):
    """Its model is exchanged under its version after so many slices; it is told at the end, as by a stream."""

    def __init__(self, after: int, *, told_by_stream: bool) -> None:
        super().__init__()
        self._after, self._told_by_stream = after, told_by_stream

    def encode_stream(self, slices: Any, **options: Any) -> Any:
        for number, encoding in enumerate(super().encode_stream(slices, **options)):
            if number == self._after:
                self.card = card(sha256="cd" * 32)
            yield encoding
        if self._told_by_stream:
            raise ModelChanged("encode all of them again")


@pytest.mark.parametrize("told_by_stream", [True, False])
@pytest.mark.parametrize(("finished", "after"), [(0, 4), (7, 0)])
def test_no_slice_of_a_model_that_was_exchanged_is_kept(
    source: Path, tmp_path: Path, finished: int, after: int, told_by_stream: bool
) -> None:
    """Also where one slice is left, which a stream takes for a matrix of its own."""
    out = tmp_path / "out.h5ad"
    interrupted(source, out, finished)

    with pytest.raises(ModelChanged, match="encode all of them again"):
        encode_file(source, out, Exchanged(after, told_by_stream=told_by_stream), slice_cells=7)

    assert [path.name for path in tmp_path.iterdir()] == ["cells.h5ad"]
    # The first model is back.
    client = FakeClient()
    assert encode_file(source, out, client, slice_cells=7).resumed_cells == 0
    assert len(client.sent) == 8


def test_the_stream_is_told_which_artifact_the_plan_is_for(source: Path, tmp_path: Path) -> None:
    client = FakeClient()
    encode_file(source, tmp_path / "out.h5ad", client)
    assert client.options["sha256"] == client.card.sha256


def test_a_model_that_is_exchanged_when_all_cells_are_there(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    interrupted(source, out, 7)
    client = FakeClient(fails_after=1)
    # Killed between its last slice and the look at the model.
    with pytest.raises(KeyboardInterrupt):
        encode_file(source, out, client, slice_cells=7, progress=lambda done, total: done == total and _interrupt())

    def exchange(done: int, total: int) -> None:
        client.card = card(sha256="cd" * 32)

    with pytest.raises(ModelChanged):
        encode_file(source, out, client, slice_cells=7, progress=exchange)
    assert [path.name for path in tmp_path.iterdir()] == ["cells.h5ad"]


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_a_file_that_is_not_there_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    class Unasked(FakeClient):
        def model(self, *_: Any) -> Any:
            raise AssertionError

    with pytest.raises(InputError, match="there is no file"):
        check_file(tmp_path / "none.h5ad", Unasked())
    with pytest.raises(InputError, match="there is no file"):
        encode_file(tmp_path / "none.h5ad", tmp_path / "out.h5ad", Unasked())


def test_not_to_be_resumed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    interrupted(source, out)
    report = encode_file(source, out, FakeClient(), slice_cells=7, resume=False)
    assert (report.resumed_cells, report.restarted) == (0, None)


def test_a_failed_run_leaves_what_was_there(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    out.write_bytes(b"precious")
    with pytest.raises(ConnectionAbortedError):
        encode_file(source, out, FakeClient(fails_after=2), slice_cells=7)
    assert out.read_bytes() == b"precious"


def test_failing_while_it_writes_leaves_what_was_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.h5ad"
    out.write_bytes(b"precious")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("totalvi_client.outputs.write_element", full)
        with pytest.raises(InputError, match=r"out\.h5ad cannot be written \(No space left.*kept in out\.h5ad\.part"):
            encode_file(source, out, FakeClient(), slice_cells=7)
    assert out.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.h5ad", "out.h5ad", "out.h5ad.part"]
    # All cells are there; the server is not asked again.
    report = encode_file(source, out, FakeClient(fails_after=0), slice_cells=7)
    assert report.resumed_cells == N_CELLS
    assert np.array_equal(read(out).obsm["X_totalVI"], Z)


def test_a_source_that_changes_meanwhile(source: Path, tmp_path: Path) -> None:
    def touch(done: int, _: int) -> None:
        if done > 20:
            os.utime(source, ns=(done, done))

    with pytest.raises(InputError, match="was changed while it was read; run again"):
        encode_file(source, tmp_path / "out.h5ad", FakeClient(), slice_cells=7, progress=touch)
    assert [path.name for path in tmp_path.iterdir()] == ["cells.h5ad"]


def test_two_runs_at_once(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    at_work, go_on = threading.Event(), threading.Event()

    def wait(done: int, _: int) -> None:
        if done:
            at_work.set()
            assert go_on.wait(PATIENCE_S)

    first = threading.Thread(target=encode_file, args=(source, out, FakeClient()), kwargs={"progress": wait})
    first.start()
    assert at_work.wait(PATIENCE_S)
    try:
        with pytest.raises(InputError, match="another run is writing the same result"):
            encode_file(source, out, FakeClient())
    finally:
        go_on.set()
        first.join(PATIENCE_S)
    assert np.array_equal(read(out).obsm["X_totalVI"], Z)


KILLED = """
import sys
from pathlib import Path
from tests.client.fake_client import FakeClient
from totalvi_client.run import encode_file
print("begun", flush=True)
encode_file(sys.argv[1], sys.argv[2], FakeClient(), slice_cells=1, n_samples=3, seed=9,
            progress=lambda done, total: (print(done, flush=True), sys.stdin.readline()))
"""


@pytest.mark.parametrize("at", [0, 20, 49])
def test_a_killed_process(source: Path, tmp_path: Path, at: int) -> None:
    whole, out = tmp_path / "whole.h5ad", tmp_path / "out.h5ad"
    encode_file(source, whole, FakeClient(), slice_cells=1, n_samples=3, seed=9)
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "client"), str(ROOT)])}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(source), str(out)],
        env=environ,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for line in process.stdout:
            if line.strip() == str(at):
                # It waits to be told to go on, and is not.
                process.send_signal(signal.SIGKILL)
                break
            if line.strip() != "begun":
                process.stdin.write("on\n")
                process.stdin.flush()
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()

    report = encode_file(source, out, FakeClient(), slice_cells=1, n_samples=3, seed=9)

    assert report.resumed_cells == at
    assert out.read_bytes() == whole.read_bytes()


def test_a_result_that_cannot_be_written_is_refused_before_anything_is_asked(source: Path, tmp_path: Path) -> None:
    client = FakeClient()
    (tmp_path / "folder.h5ad").mkdir()
    for out, says in {
        "out.txt": "what is written is told by the ending, one of .h5ad, .h5mu, .csv, .npz",
        "out.h5mu": "becomes a .h5ad file, so name the result out.h5ad",
        "nowhere/out.h5ad": "there is no folder",
        "folder.h5ad": "is a folder; name a file",
    }.items():
        with pytest.raises(InputError, match=says):
            encode_file(source, tmp_path / out, client)
    assert not client.sent


def test_a_full_disk_is_seen_before_anything_is_asked(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeClient()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(InputError, match=r"has 0\.0 GB left .* make room, or write a \.csv or \.npz"):
        encode_file(source, tmp_path / "out.h5ad", client)
    assert not client.sent


def test_a_misspelt_choice(source: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="there is no choice 'layers'; there are: allow_non_integer, batch, "):
        encode_file(source, tmp_path / "out.h5ad", FakeClient(), layers="counts")


def test_the_report_of_a_file_is_json(source: Path, tmp_path: Path) -> None:
    report = json.loads(encode_file(source, tmp_path / "out.h5ad", FakeClient()).to_json())
    assert report["n_cells"] == N_CELLS
    assert report["written"] == ["obsm['X_totalVI']"]
    assert report["batch_cells"] == {label: BATCH.count(label) for label in sorted(set(BATCH))}


def test_10x_becomes_a_new_h5ad(tmp_path: Path) -> None:
    source = tenx_h5(tmp_path / "cells.h5")
    out = tmp_path / "out.h5ad"

    encode_file(source, out, FakeClient(), batch="b1", slice_cells=20)

    data = read(out)
    assert data.shape == (N_CELLS, 13)
    assert np.array_equal(data.X.toarray()[:, :12], COUNTS)
    assert data.var_names[-1] == "G2-1"
    assert data.var["gene_ids"].tolist()[-1] == "ENSG00000009999"
    assert np.array_equal(data.obsm["protein_expression"].to_numpy(), PROTEIN_COUNTS)
    assert np.array_equal(data.obsm["X_totalVI"][:, :2], Z[:, :2])
    # It is one that this package reads again.
    encode_file(out, tmp_path / "again.h5ad", FakeClient(), batch="b1")
    assert np.array_equal(read(tmp_path / "again.h5ad").obsm["X_totalVI"], data.obsm["X_totalVI"])


def test_10x_with_names_that_hdf5_would_cut(tmp_path: Path) -> None:
    source = tenx_h5(tmp_path / "cells.h5")
    with h5py.File(source, "r+") as file:
        names = file["matrix/features/name"][:]
        names[-1] = b"CD16/32"
        file["matrix/features/name"][:] = names
    of = card(proteins=("CD3_TotalSeqB", "CD19_TotalSeqB", "CD16/32"))

    encode_file(source, tmp_path / "out.h5ad", FakeClient(of), batch="b1")
    encode_file(tmp_path / "out.h5ad", tmp_path / "again.h5ad", FakeClient(of), batch="b1")

    data = read(tmp_path / "again.h5ad")
    assert np.array_equal(data.obsm["protein_expression"], PROTEIN_COUNTS)
    assert data.uns["protein_expression_names"].tolist() == list(of.proteins)
    assert np.array_equal(data.obsm["X_totalVI"][:, :2], Z[:, :2])


def test_10x_without_its_counts(tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    encode_file(tenx_h5(tmp_path / "cells.h5"), out, FakeClient(), batch="b1", with_counts=False)
    data = read(out)
    assert data.X is None
    assert list(data.obsm) == ["X_totalVI"]


def contents(path: Path) -> dict[str, bytes]:
    """Every data set of a file."""
    found: dict[str, bytes] = {}

    def take(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            found[name] = repr((node.dtype, node[()])).encode()

    with quiet(), h5py.File(path) as file:
        file.visititems(take)
    return found
