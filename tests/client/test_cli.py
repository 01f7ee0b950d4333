"""The command line, by itself and against the example service."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.end_to_end.server import RunningServer
from tests.saves import EXAMPLE_MODELS, ROOT
from totalvi_client import cli

anndata = pytest.importorskip("anndata")

CELLS = ROOT / "examples" / "cells.h5ad"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(example: RunningServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("TOTALVI_CLIENT_SERVER", f"http://127.0.0.1:{example.http_port}")
    monkeypatch.delenv("TOTALVI_CLIENT_TOKEN", raising=False)

    def ask(*arguments: object) -> tuple[int, str, str]:
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return ask


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "totalvi_client", *map(str, arguments)]


@pytest.fixture(scope="module")
def slow() -> Iterator[RunningServer]:
    """The example, and every answer takes a fifth of a second: a run lasts until somebody ends it."""
    with RunningServer(EXAMPLE_MODELS, "--max-delay-ms", 200) as running:
        yield running.wait_until_ready()


def environment(server: RunningServer, **more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("TOTALVI_")}
    address = f"http://127.0.0.1:{server.http_port}"
    return own | {"PYTHONPATH": str(ROOT / "client"), "TOTALVI_CLIENT_SERVER": address, "TERM": "xterm"} | more


def latent_of(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(anndata.read_h5ad(path).obsm["X_totalVI"])


def right(server: RunningServer) -> np.ndarray[Any, Any]:
    """What `/v1` answers for the example cells, asked by hand."""
    cells = anndata.read_h5ad(CELLS)
    proteins = cells.obsm["protein_expression"]
    body = {
        "genes": list(cells.var_names),
        "gene_counts": {part: getattr(cells.X, part).tolist() for part in ("indptr", "indices", "data")},
        "proteins": list(proteins.columns),
        "protein_counts": proteins.to_numpy().tolist(),
        "batch": list(cells.obs["batch"]),
        "outputs": ["z"],
    }
    answer = httpx.post(f"http://127.0.0.1:{server.http_port}/v1/models/pbmc/encode", json=body, timeout=60)
    return np.array(answer.json()["z"], np.float32)


def test_encode_in_a_process_of_its_own(tmp_path: Path, example: RunningServer) -> None:
    """Nothing but one line on standard error, no warning of any library, and the bits of `/v1`."""
    out = tmp_path / "encoded.h5ad"
    done = subprocess.run(
        command("encode", CELLS, "--model", "pbmc", "-o", out),
        env=environment(example),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "600 cells, 20 latent dimensions, model pbmc version 1"
    assert "batch: obs['batch']: PBMC5k (305), PBMC10k (295)" in lines
    assert re.fullmatch(
        rf"wrote {re.escape(str(out))}: obsm\['X_totalVI'\]; 600 cells in [\d.]+ s, [\d,]+ cells/s", lines[-1]
    )
    assert np.array_equal(latent_of(out), right(example))
    assert sorted(os.listdir(tmp_path)) == ["encoded.h5ad"]


def test_encode_over_grpc_gives_the_same(tmp_path: Path, example: RunningServer, run: Run) -> None:
    for scheme, port in (("http", example.http_port), ("grpc", example.grpc_port)):
        code, _, err = run(
            "encode", CELLS, "-m", "pbmc", "-o", tmp_path / f"{scheme}.h5ad", "--server", f"{scheme}://127.0.0.1:{port}"
        )
        assert (code, err) == (0, "")
    assert (tmp_path / "http.h5ad").read_bytes() == (tmp_path / "grpc.h5ad").read_bytes()


def test_json_is_one_report_and_nothing_else(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("matplotlib")
    out, picture = tmp_path / "encoded.h5ad", tmp_path / "picture.png"
    code, text, _ = run("encode", CELLS, "-o", out, "--json", "--samples", 2, "--seed", 7, "--library")
    report = json.loads(text)
    assert (code, text.count("\n")) == (0, 1)
    assert (report["n_cells"], report["seed"], report["plot"]) == (600, 7, None)
    assert report["written"] == ["obsm['X_totalVI']", "obs['totalVI_library_size']", "obsm['X_totalVI_samples']"]
    _, text, _ = run("check", CELLS, "--json")
    assert json.loads(text)["genes"]["coverage"] == 1
    _, text, _ = run("models", "--json")
    assert [model["name"] for model in json.loads(text)["models"]] == ["pbmc"]
    _, text, _ = run("describe", "--json")
    assert len(json.loads(text)["genes"]) == 2000
    _, text, _ = run("plot", out, "-o", picture, "--method", "pca", "--json")
    drawn = {"path": str(picture), "method": "PCA", "n_cells": 600, "n_drawn": 600}
    assert json.loads(text) == drawn
    code, text, err = run("describe", "nope", "--json")
    error = json.loads(text)["error"]
    assert (code, error["kind"], error["code"], error["exit_code"]) == (1, "NotFound", "not_found", 1)
    assert error["detail"] in err


def test_models_and_describe(run: Run) -> None:
    code, text, err = run("models")
    assert (code, err) == (0, "")
    assert text.splitlines()[1].split() == ["pbmc", "1", "ready", "2,000", "14", "20", "PBMC10k,", "PBMC5k"]
    _, text, _ = run("describe", "pbmc", "--model-version", 1)
    assert "genes         HES4, ISG15, TNFRSF4, NADK, GNB1, … (2,000 in all)" in text.splitlines()
    assert "batch         batch: PBMC10k, PBMC5k" in text.splitlines()
    _, text, _ = run("describe", "--proteins")
    assert text.splitlines()[0] == "CD3_TotalSeqB"
    assert len(text.splitlines()) == 14


def test_check_computes_and_writes_nothing(tmp_path: Path, run: Run) -> None:
    before = sorted(os.listdir(tmp_path))
    code, text, err = run("check", CELLS, "--model", "pbmc")
    assert (code, err) == (0, "")
    assert text.splitlines()[-1] == "these cells can be encoded; nothing was computed or written"
    assert sorted(os.listdir(tmp_path)) == before


def test_a_file_is_never_replaced_by_accident(tmp_path: Path, run: Run) -> None:
    source, out = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    source.write_bytes(CELLS.read_bytes())
    out.write_bytes(b"mine")
    code, _, err = run("encode", source, "-o", out)
    assert (code, err) == (
        2, f"totalvi-client: {out} is there already: --overwrite replaces it, or give another name\n"
    )  # fmt: skip
    assert out.read_bytes() == b"mine"
    assert run("encode", source, "-o", source)[0] == 2
    assert run("encode", source)[0] == 2
    assert run("encode", source, "-o", out, "--in-place")[0] == 2
    assert run("encode", tmp_path, "--in-place")[0] == 2
    assert run("encode", source, "-o", out, "--overwrite")[0] == 0
    assert run("encode", source, "--in-place", "--key", "X_mine")[0] == 0
    assert set(anndata.read_h5ad(source).obsm) == {"protein_expression", "X_mine"}


def test_labels_take_the_type_of_the_model(tmp_path: Path, run: Run) -> None:
    cells = anndata.read_h5ad(CELLS)
    cells.obs["lane"] = np.where(cells.obs["batch"] == "PBMC5k", 5, 10)
    del cells.obs["batch"]
    cells.write_h5ad(tmp_path / "lanes.h5ad")
    lanes = ("--batch-key", "lane", "--batch-map", "5=PBMC5k", "--batch-map", "10=PBMC10k")
    code, text, err = run("encode", tmp_path / "lanes.h5ad", *lanes, "-o", tmp_path / "out.h5ad")
    assert (code, err) == (0, "")
    assert "obs['lane']: PBMC5k (305), PBMC10k (295)" in text
    code, text, _ = run("encode", tmp_path / "lanes.h5ad", "--batch", "PBMC5k", "-o", tmp_path / "one.h5ad")
    assert code == 0
    assert "batch: 'PBMC5k' for all cells" in text


WRONG: list[tuple[str, list[Any], int, str]] = [
    ("no command", [], 2, r"totalvi-client: the following arguments are required: COMMAND \(see totalvi-client --help"),
    ("unknown command", ["encod"], 2, "invalid choice: 'encod'"),
    ("unknown option", ["models", "--colour-me"], 2, "unrecognized arguments: --colour-me"),
    ("no input", ["encode"], 2, r"required: IN \(see totalvi-client encode --help\)"),
    ("no output", ["encode", CELLS], 2, "name the file to write by -o OUT, or add to IN itself by --in-place"),
    ("two batches", ["encode", CELLS, "--batch", "a", "--batch-key", "b"], 2, "not allowed with argument"),
    ("no pair", ["encode", CELLS, "--batch-map", "a"], 2, "'a' is not of the form NAME=VALUE"),
    ("no share", ["encode", CELLS, "--min-gene-coverage", "60"], 2, "'60' is not a share from 0 to 1"),
    ("no count", ["encode", CELLS, "--slice-cells", "0"], 2, "'0' is not a whole number from 1"),
    ("no seed", ["encode", CELLS, "--seed", "-1"], 2, "'-1' is not a whole number"),
    ("no time", ["models", "--timeout", "nan"], 2, "'nan' is not a number of seconds above 0"),
    ("missing file", ["encode", "none.h5ad", "-o", "OUT"], 1, "there is no file none.h5ad"),
    ("no such layer", ["encode", CELLS, "-o", "OUT", "--layer", "raw_counts"], 1, "--layer may be: X"),
    ("unknown model", ["encode", CELLS, "-o", "OUT", "-m", "lung"], 1, r"no such model; served: 'pbmc'"),
    ("unknown batch", ["encode", CELLS, "-o", "OUT", "--batch", "b9"], 1, "'b9' unknown.*: --batch-map b9=PBMC10k"),
    ("unknown column", ["check", CELLS, "--batch-key", "lane"], 1, "no column 'lane' in obs"),
    ("bad output", ["encode", CELLS, "-o", "OUT.xlsx"], 1, r"one of \.h5ad, \.h5mu, \.csv, \.npz"),
    ("no folder", ["encode", CELLS, "-o", "OUT/none/x.h5ad"], 1, "there is no folder"),
    ("not a picture", ["encode", CELLS, "-o", "OUT", "--plot", "x.jpg"], 2, r"pictures end in \.png"),
    ("picture of a table", ["encode", CELLS, "-o", "OUT.csv", "--plot", "x.png"], 2, "not .csv"),
    ("colour alone", ["encode", CELLS, "-o", "OUT", "--color", "batch"], 2, r"--color is for a picture: .*--plot FILE"),
    (
        "colour misspelt",
        ["encode", CELLS, "-o", "OUT", "--plot", "x.png", "--color", "populaton"],
        1,
        "did you mean 'population'",
    ),
    ("plot of no latent", ["plot", CELLS, "-o", "x.png"], 1, r"no obsm\['X_totalVI'\].*encode it first, or give --key"),
    ("nobody there", ["models", "--server", "http://127.0.0.1:1"], 3, "running.*--server, TOTALVI_CLIENT_SERVER"),
    ("no address", ["models", "--server", "127.0.0.1:8000"], 1, "begins with http://, https://, grpc://"),
    ("no token file", ["models", "--token-file", "none.txt"], 1, "none.txt: No such file or directory"),
    ("open token", ["models", "--server", "http://example.org", "--token-file", "TOKEN"], 1, "or --allow-plain-token"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "words"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_is_wrong_is_told_in_one_line(
    arguments: list[Any], code: int, words: str, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "token").write_text("a-token-of-mine")
    texts = [str(argument).replace("TOKEN", str(tmp_path / "token")) for argument in arguments]
    texts = [re.sub("^OUT", str(tmp_path / "out"), text) + (".h5ad" if text == "OUT" else "") for text in texts]
    before = sorted(os.listdir(tmp_path))
    ended, out, err = run(*texts)
    assert (ended, out) == (code, "")
    assert err.startswith("totalvi-client")
    assert (err.count("\n"), "Traceback" in err, "a-token" in err) == (1, False, False)
    assert re.search(words, err), err
    assert sorted(os.listdir(tmp_path)) == before, "nothing is left behind"


def test_every_help_tells_of_itself(run: Run) -> None:
    for name in ([], ["encode"], ["check"], ["models"], ["describe"], ["plot"]):
        code, text, _ = run(*name, "--help")
        assert code == 0
        assert "usage: totalvi-client" in text
        assert "%(" not in text
    code, text, _ = run("--version")
    assert (code, text.split()[0]) == (0, "totalvi-client")


def test_a_fault_of_the_program_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(cli.commands, "_client", fail)
    code, out, err = run("models")
    assert (code, out) == (70, "")
    assert err == (
        "totalvi-client: a fault of this program, please report it (ValueError: a bug); --traceback tells where it is\n"
    )
    assert "Traceback" in run("models", "--traceback")[2]


def test_a_reader_that_has_seen_enough_is_no_error(example: RunningServer) -> None:
    with subprocess.Popen(
        command("describe", "--genes"),
        env=environment(example),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == ("", cli.PIPE)


def test_a_picture_that_fails_leaves_the_result(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(cli.commands, "draw", fail)
    out = tmp_path / "out.h5ad"
    code, _, err = run("encode", CELLS, "-o", out, "--plot", tmp_path / "x.png")
    assert code == 1
    assert f"encoded into {out}, but the picture failed: the disk is full; totalvi-client plot {out} -o" in err
    assert latent_of(out).shape == (600, 20)


def test_uncertainty_in_the_picture_keeps_the_distribution(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("totalvi_client.projection.umap_is_installed", lambda: False)  # it takes half a minute
    out = tmp_path / "out.h5ad"
    code, text, _ = run("encode", CELLS, "-o", out, "--plot", tmp_path / "x.png", "--color", "uncertainty")
    assert code == 0, text
    assert {"X_latent_qzm", "X_latent_qzv"} <= set(anndata.read_h5ad(out).obsm)
    assert (tmp_path / "x.png").stat().st_size > 10_000


class Terminal:
    """A command whose standard error is a terminal of 100 columns."""

    def __init__(self, arguments: list[str], environ: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        # A job in the background ignores Ctrl-C, and so would whatever it starts.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.process = subprocess.Popen(
                arguments, env=environ | {"COLUMNS": "100"}, stdin=slave, stdout=subprocess.PIPE, stderr=slave
            )
        finally:
            signal.signal(signal.SIGINT, before)
        os.close(slave)
        self.seen = ""

    def read_until(self, pattern: str) -> None:
        """Read what it draws until that is among it; or to its end."""
        end = time.monotonic() + 60
        while not re.search(pattern, self.seen) and time.monotonic() < end:
            if not select.select([self._master], [], [], 1)[0]:
                continue
            try:
                self.seen += os.read(self._master, 65536).decode("utf-8", "replace")
            except OSError:  # it has ended
                return

    def finish(self) -> int:
        self.read_until("(?!)")
        assert self.process.stdout is not None
        with self.process.stdout:
            self.process.stdout.read()
        os.close(self._master)
        return self.process.wait(60)


def test_a_terminal_shows_a_bar_and_ctrl_c_says_how_to_go_on(
    tmp_path: Path, example: RunningServer, slow: RunningServer
) -> None:
    """And the same command goes on: its file is to the byte that of a run in one go."""
    whole, out = tmp_path / "whole.h5ad", tmp_path / "out.h5ad"
    slowly = ("--slice-cells", 3, "--in-flight", 1, "-o")
    arguments = command("encode", CELLS, "-m", "pbmc", *slowly, out)
    terminal = Terminal(arguments, environment(slow))
    terminal.read_until(r"\b[1-9]\d* of 600 cells")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.finish() == 130
    bars = [line for line in terminal.seen.split("\r") if "━" in line]
    assert re.search(r"cells\.h5ad  .*━.* %  .*of 600 cells", bars[-1])
    assert "\x1b[32m" in bars[-1], "in colour"
    assert not out.exists()
    told = re.search(
        r"totalvi-client: interrupted; (\d+) of 600 cells are done and kept in (\S+): the same", terminal.seen
    )
    assert told is not None, terminal.seen
    assert told[2] == f"{out}.part"
    assert "Traceback" not in terminal.seen

    again = Terminal(arguments, environment(example, NO_COLOR="1"))
    assert again.finish() == 0
    assert "\x1b[3" not in again.seen
    assert re.search(r"\r\x1b\[K$", again.seen), "the bar is taken away at the end"
    first = re.search(r"(\d+) of 600 cells", again.seen)
    assert first is not None
    assert int(first[1]) >= int(told[1]) > 0, "it went on, and did not begin anew"

    assert Terminal(command("encode", CELLS, "-m", "pbmc", "-o", whole), environment(example)).finish() == 0
    assert out.read_bytes() == whole.read_bytes()


def test_a_run_that_is_told_to_end_keeps_what_is_done(
    tmp_path: Path, example: RunningServer, slow: RunningServer
) -> None:
    out = tmp_path / "out.h5ad"
    arguments = command("encode", CELLS, "-m", "pbmc", "-o", out)
    terminal = Terminal([*arguments, "--slice-cells", "3", "--in-flight", "1"], environment(slow))
    terminal.read_until(r"\b[1-9]\d* of 600 cells")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.finish() == 143
    assert "told to end; " in terminal.seen
    assert out.with_name("out.h5ad.part").exists()
    done = subprocess.run(
        [*arguments, "--restart", "--json"], env=environment(example), capture_output=True, timeout=100, check=True
    )
    assert json.loads(done.stdout)["resumed_cells"] == 0


def test_wrong_files_are_told_of_in_flags(tmp_path: Path, run: Run) -> None:
    """What to do is said in words that can be typed here."""
    cells = anndata.read_h5ad(CELLS)
    normalised, ensembl = cells.copy(), cells.copy()
    normalised.layers["counts"] = normalised.X.copy()
    normalised.X = np.log1p(normalised.X)
    ensembl.var["symbol"] = list(ensembl.var_names)
    ensembl.var_names = [f"ENSG{number:011d}" for number in range(ensembl.n_vars)]
    del cells.obsm["protein_expression"]
    wanted = {
        "normalised": (normalised, "--layer counts", ["--layer", "counts"]),
        "ensembl": (ensembl, "--gene-column symbol", ["--gene-column", "symbol"]),
        "no_proteins": (cells, "--no-proteins counts each as 0", ["--no-proteins"]),
    }
    for name, (adata, words, arguments) in wanted.items():
        path = tmp_path / f"{name}.h5ad"
        adata.write_h5ad(path)
        code, _, err = run("check", path)
        assert (code, words in err) == (1, True), err
        code, text, err = run("check", path, *arguments)
        assert code == 0, f"what it said does not help: {err}"
    assert (
        "missing proteins: CD3_TotalSeqB, CD4_TotalSeqB, CD8a_TotalSeqB, CD14_TotalSeqB, CD15_TotalSeqB, … (14" in text
    )
