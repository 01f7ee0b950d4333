"""What each command of the command line does."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from totalvi_client.choices import KEY, Choices
from totalvi_client.client import Client
from totalvi_client.errors import InputError
from totalvi_client.plot import FORMATS, Picture, draw
from totalvi_client.progress import Progress
from totalvi_client.results import Card, CategoricalField, Label
from totalvi_client.retry import PATIENT

if TYPE_CHECKING:
    from totalvi_client.report import Report

__all__ = ["KEY", "Told", "UsageError", "check", "describe", "encode", "models", "plot"]

_SHOWN = 5


class UsageError(Exception):
    """The arguments do not go together."""


class Told:
    """What the user sees beside the result, on standard error.

    Args:
        quiet: no progress.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._stream: TextIO = sys.stderr or io.StringIO()  # none, where it was closed before the start
        self._progress: Progress | None = None
        self._part: Path | None = None

    def progress_of(self, source: Path, part: Path | None = None) -> Progress:
        """The progress of a run.

        Args:
            source: what it is called.
            part: where what is finished is kept, if it is.
        """
        self._part = part
        self._progress = _Silent(self._stream) if self._quiet else Progress(self._stream, source.name)
        return self._progress

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._progress is not None:
            self._progress.clear()
        try:
            print(text, file=self._stream, flush=True)
        except (OSError, ValueError):
            self._quiet = True  # nobody listens

    def how_to_go_on(self) -> str:
        """Of a run that ended too early: what is kept of it."""
        if self._progress is None or self._part is None or not self._part.exists():
            return ""
        done, total = self._progress.done, self._progress.total
        if not done or total is None:
            return ""
        return f"; {done:,} of {total:,} cells are done and kept in {self._part}: the same command goes on from there"


class _Silent(Progress):
    """Counts, and says nothing."""

    def __call__(self, done: int, total: int | None) -> None:
        self.done, self.total = done, total


def encode(arguments: argparse.Namespace, told: Told) -> None:
    """Encode a file into a file, and draw it."""
    source = Path(arguments.source)
    out = _out_of(arguments, source)
    _check_plot(arguments, source, out)
    run = _needs_anndata("totalvi_client.run")
    run.check_there(source)
    with _client(arguments) as client:
        progress = told.progress_of(source, out.with_name(f"{out.name}.part"))
        report: Report = run.encode_file(
            source,
            out,
            client,
            progress=progress,
            resume=not arguments.restart,
            **_choices(arguments, client),
        )
    took = progress.finished()  # which also takes the bar away
    picture, failure = None, None
    if arguments.plot is not None:
        if not arguments.quiet:
            told.say(f"drawing {arguments.plot} …")
        try:
            picture = _draw(out, Path(arguments.plot), arguments.key, arguments.colours)
        except (InputError, OSError, ValueError, ModuleNotFoundError) as error:
            failure = InputError(
                f"the cells are encoded into {out}, but the picture failed: {error}; totalvi-client plot {out} -o "
                f"{arguments.plot} draws it"
            )
    if failure is not None:
        raise failure
    if arguments.json:
        _print_json(report.to_dict() | {"plot": _picture_fields(picture) if picture else None})
        return
    _print_report(report)
    if report.restarted:
        print(f"began anew: {report.restarted}")
    since = f" ({report.resumed_cells:,} of them by an earlier run)" if report.resumed_cells else ""
    print(f"wrote {out}: {', '.join(report.written)}; {took}{since}")
    if picture is not None:
        print(f"drew {picture.path}: {_picture_text(picture)}")


def check(arguments: argparse.Namespace, told: Told) -> None:
    """Tell how a file fits."""
    source = Path(arguments.source)
    run = _needs_anndata("totalvi_client.run")
    run.check_there(source)
    with _client(arguments) as client:
        progress = told.progress_of(source)
        report: Report = run.check_file(source, client, progress=progress, **_choices(arguments, client))
    progress.clear()
    if arguments.json:
        _print_json(report.to_dict())
        return
    _print_report(report)
    print("these cells can be encoded; nothing was computed or written")


def models(arguments: argparse.Namespace, _: Told) -> None:
    """List the models."""
    with _client(arguments) as client:
        cards = client.models()
    if arguments.json:
        _print_json({"models": [_summary(card) for card in cards]})
        return
    if not cards:
        print("the server holds no models")
        return
    rows = [("MODEL", "VERSION", "STATE", "GENES", "PROTEINS", "LATENT", "BATCHES")]
    for card in cards:
        loaded = bool(card.genes)
        rows.append(
            (
                card.name,
                card.version,
                card.state,
                f"{len(card.genes):,}" if loaded else "",
                str(len(card.proteins)) if loaded else "",
                str(card.n_latent or ""),
                _few(card.batch.categories) if card.batch else "none" if loaded else "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def describe(arguments: argparse.Namespace, _: Told) -> None:
    """Tell what a model was trained with."""
    with _client(arguments) as client:
        card = client.model(arguments.model, arguments.version)
    if arguments.json:
        _print_json(dataclasses.asdict(card))
        return
    if arguments.genes or arguments.proteins:
        print("\n".join(card.genes if arguments.genes else card.proteins))
        return
    for name, text in _lines_of(card):
        print(f"{name:<14}{text}".rstrip())


def plot(arguments: argparse.Namespace, _: Told) -> None:
    """Draw an encoded file."""
    out = Path(arguments.out)
    _check_picture(out)
    picture = _draw(Path(arguments.source), out, arguments.key, arguments.colours, arguments.method)
    if arguments.json:
        _print_json(_picture_fields(picture))
    else:
        print(f"drew {picture.path}: {_picture_text(picture)}")


def _client(arguments: argparse.Namespace) -> Client:
    token = os.environ.get("TOTALVI_CLIENT_TOKEN") or None
    if arguments.token_file is not None:
        token = Path(arguments.token_file).expanduser().read_text(encoding="utf-8", errors="replace").strip()
        if not token:
            raise InputError(f"{arguments.token_file} is empty; it should hold the token")
    # A run waits for a server that is restarted; a question is answered or not.
    is_run = hasattr(arguments, "slice_cells")
    retry = {"retry": PATIENT} if is_run else {}
    timeout = arguments.timeout if is_run or arguments.timeout else 30.0
    return Client(
        arguments.server,
        token=token,
        ca_file=arguments.ca_file,
        certificate=tuple(arguments.certificate) if arguments.certificate else None,
        tls=arguments.tls,
        allow_plain_token=arguments.allow_plain_token,
        timeout=timeout,
        **retry,  # type: ignore[arg-type]
    )


def _choices(arguments: argparse.Namespace, client: Client) -> dict[str, Any]:
    """Those of `Choices` that the arguments give, labels of the type that they have in the model."""
    names = {field.name for field in dataclasses.fields(Choices)} - {"batch_map", "covariate_keys", "covariates"}
    given = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    given["covariate_keys"] = dict(arguments.covariate_key) if arguments.covariate_key else None
    given["batch_map"] = given["covariates"] = None
    if "distribution" in given and "uncertainty" in (arguments.colours or ()) and arguments.plot:
        given["distribution"] = True
    if arguments.batch is not None or arguments.batch_map or arguments.covariate:
        card = client.model(arguments.model, arguments.version)
        if arguments.batch is not None:
            given["batch"] = _typed(arguments.batch, card.batch)
        if arguments.batch_map:
            given["batch_map"] = {ours: _typed(theirs, card.batch) for ours, theirs in arguments.batch_map}
        if arguments.covariate:
            fields = {field.key: field for field in card.categorical_covariates}
            given["covariates"] = {
                name: _number(name, value) if name in card.continuous_covariates else _typed(value, fields.get(name))
                for name, value in arguments.covariate
            }
    return given


def _typed(text: str, field: CategoricalField | None) -> Label:
    """A label as the model has it: "1" is its 1 where it knows one."""
    same = [label for label in field.categories if str(label) == text] if field is not None else []
    return same[0] if len(same) == 1 else text


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"covariate {name!r} is a number, not {text!r}") from None


def _out_of(arguments: argparse.Namespace, source: Path) -> Path:
    if arguments.in_place:
        if arguments.out is not None:
            raise UsageError("give -o OUT or --in-place, not both")
        if source.is_dir():
            raise UsageError(f"{source} is a folder, which nothing can be added to: name a file by -o OUT.h5ad")
        return source
    if arguments.out is None:
        raise UsageError("name the file to write by -o OUT, or add to IN itself by --in-place")
    out = Path(arguments.out)
    if out.exists() and source.exists() and out.samefile(source):
        raise UsageError(f"{out} is IN itself: --in-place adds to it")
    if out.is_file() and not arguments.overwrite:
        raise UsageError(f"{out} is there already: --overwrite replaces it, or give another name")
    return out


def _check_plot(arguments: argparse.Namespace, source: Path, out: Path) -> None:
    """What would make the picture fail is said before an hour of encoding, not after it."""
    if arguments.plot is None:
        if arguments.colours:
            raise UsageError("--color is for a picture: name its file by --plot FILE.png")
        return
    _check_picture(Path(arguments.plot))
    if out.suffix.casefold() not in (".h5ad", ".h5mu"):
        raise UsageError(f"--plot draws what is written into .h5ad or .h5mu files, not {out.suffix or out}")
    if arguments.colours and source.exists():
        _needs_anndata("totalvi_client.latent_file").check_colours(source, arguments.colours)


def _check_picture(path: Path) -> None:
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: pictures end in .png, .pdf or .svg")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("a picture needs matplotlib: pip install 'totalvi-client[plot]'")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} to write {path.name} into")


def _needs_anndata(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(f"files need {error.name}: pip install 'totalvi-client[anndata]'") from None


def _draw(source: Path, out: Path, key: str, colours: Sequence[str] | None, method: Any = "auto") -> Picture:
    found = _needs_anndata("totalvi_client.latent_file").read_latent_file(source, key, colours)
    return draw(found.latent, out, found.colourings, title=found.title, method=method)


def _picture_text(picture: Picture) -> str:
    some = "" if picture.n_drawn == picture.n_cells else f", {picture.n_drawn:,} of them drawn"
    hint = "" if picture.method == "UMAP" or importlib.util.find_spec("umap") else "; umap-learn is not installed"
    return f"{picture.method} of {picture.n_cells:,} cells{some}{hint}"


def _picture_fields(picture: Picture) -> dict[str, Any]:
    return dataclasses.asdict(picture) | {"path": str(picture.path)}


def _print_report(report: Report) -> None:
    print(report)
    if report.missing_genes and report.genes.missing:
        print(f"missing genes: {_few(report.missing_genes, report.genes.missing)}")
    if report.missing_proteins:
        print(f"missing proteins: {_few(report.missing_proteins)}")


def _print_json(report: Mapping[str, Any]) -> None:
    print(json.dumps(report, ensure_ascii=False))


def _summary(card: Card) -> dict[str, Any]:
    return {
        "name": card.name,
        "version": card.version,
        "versions": card.versions,
        "state": card.state,
        "reason": card.reason,
        "sha256": card.sha256,
        "n_genes": len(card.genes),
        "n_proteins": len(card.proteins),
        "n_latent": card.n_latent,
        "batch": None if card.batch is None else dataclasses.asdict(card.batch),
    }


def _lines_of(card: Card) -> list[tuple[str, str]]:
    lines = [
        ("model", card.name),
        ("version", f"{card.version} (served: {', '.join(card.versions)})"),
        ("state", card.state + (f": {card.reason}" if card.reason else "")),
        ("sha256", card.sha256),
    ]
    if not card.genes:
        return lines
    manifest = card.manifest
    lines += [
        ("genes", _few(card.genes)),
        ("proteins", _few(card.proteins, shown=40)),
        ("batch", "none" if card.batch is None else f"{card.batch.key}: {_few(card.batch.categories, shown=40)}"),
    ]
    lines += [
        ("covariate", f"{field.key}: {_few(field.categories, shown=40)}") for field in card.categorical_covariates
    ]
    lines += [("covariate", f"{name}: a number, in the units of the training") for name in card.continuous_covariates]
    if manifest.get("encode_covariates") is False:
        lines.append(("", "the encoder takes neither batch nor covariates: they need not be given"))
    lines.append(("latent space", f"{card.n_latent} dimensions, {manifest.get('latent_distribution', 'unknown')}"))
    if "scvi_version" in manifest:
        lines.append(
            ("trained with", f"scvi-tools {manifest['scvi_version']}, {manifest.get('model_class', 'TOTALVI')}")
        )
    return lines


def _few(labels: Sequence[Any], count: int | None = None, shown: int = _SHOWN) -> str:
    """The first of them, and how many there are."""
    count = len(labels) if count is None else count
    texts = ", ".join(map(str, labels[:shown]))
    return f"{texts}, … ({count:,} in all)" if count > shown else texts or "none"
