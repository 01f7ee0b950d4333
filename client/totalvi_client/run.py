"""Encodes a file into a file, and goes on where an interrupted run stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from totalvi_client.choices import Choices
from totalvi_client.client import Client
from totalvi_client.damage import damaged, writing
from totalvi_client.embedding import look_at
from totalvi_client.encoding_run import Progress, card_of, client_of, encode_cells
from totalvi_client.errors import InputError, ModelChanged
from totalvi_client.files import identity, open_file
from totalvi_client.outputs import check_out, write_out
from totalvi_client.part_file import Arrays, PartFile
from totalvi_client.plan import Plan, plan_for
from totalvi_client.report import Report, gathered
from totalvi_client.results import Notice
from totalvi_client.version import installed_version

_NO_MATTER = ("in_flight", "priority", "timeout", "seed", "slice_cells", "model", "version", "protein_names")
"""Choices that change nothing, or that stand in the question as what became of them."""


def encode_file(
    source: str | Path,
    out: str | Path,
    client: Client | str,
    *,
    progress: Progress | None = None,
    resume: bool = True,
    with_counts: bool = True,
    **choices: Any,
) -> Report:
    """Encode the cells of a file; a million of them in the memory of some thousand.

    What is written is told by the ending of `out`: a copy of the h5ad or h5mu file with `obsm` and `uns` added and all
    else untouched; of 10x a new h5ad; `.csv` or `.npz` with the names of the cells. It is written aside and moved into
    place, all of it or nothing, so `out` may be `source`. Finished slices are kept in `OUT.part` until then: a run that
    was interrupted, and is started again with the same question, goes on there, and its file is to the byte that of a
    run that was not. With another question it is refused, so that nothing that is finished is lost unseen.

    Args:
        source: `.h5ad`, `.h5mu`, 10x `.h5`, or the folder of a 10x matrix (`matrix.mtx`).
        out: `.h5ad`, `.h5mu`, `.csv` or `.npz`.
        client: whom to ask, or the address of a server.
        progress: told of the cells done and of all of them; of a resumed run first of those that were there.
        resume: False: begin anew and forget what an earlier run has finished.
        with_counts: of 10x, put the counts into the new h5ad, too.
        **choices: those of `Choices`.

    Returns:
        What was used, and what did not fit.

    Raises:
        InputError: something is missing, unknown, damaged or cannot be told; the message says what to do.
        ModelChanged: the model was exchanged meanwhile; nothing is kept.
        TotalviError: the server refuses, or does not answer; what is finished stays in `OUT.part`.
    """
    source, out, began = Path(source), Path(out), time.monotonic()
    # What a link points to is written, not the link.
    out = out.resolve() if out.is_symlink() else out
    chosen = _choices(choices)
    scratch = out.parent if out.parent.is_dir() else None
    with client_of(client) as asked, _planned(source, scratch, asked, chosen) as first_plan:
        serving = asked.server_version()
        check_out(out, source, first_plan.holdings.kind, _needed_bytes(source, out, first_plan))
        question = _question(source, first_plan, with_counts)
        read_from = identity(source)
        path = out.with_name(f"{out.name}.part")
        with writing(out):
            opened = PartFile(path, question, {"seed": first_plan.seed}, first_plan.kept, resume=resume)
        with opened as part:
            # The draws of a run are those of its first attempt.
            plan = dataclasses.replace(first_plan, seed=part.facts["seed"])
            resumed = part.done

            def take(_: int, arrays: Arrays, notices: tuple[Notice, ...]) -> None:
                with writing(out):
                    part.append(arrays, notices)

            try:
                encode_cells(plan, asked, take, first=resumed, progress=progress)
            except ModelChanged:
                # Some slices may be of the other artifact, and nobody knows which.
                part.remove()
                raise
            if identity(source) != read_from:
                # Nor are these the cells of one file.
                part.remove()
                raise InputError(f"{source} was changed while it was read; run again, when it stays as it is")
            report = plan.report(
                notices=gathered(part.notices, plan.notices),
                source=str(source),
                out=str(out),
                written=tuple(map(str, plan.kept)),
                resumed_cells=resumed,
                restarted=part.restarted,
                server_version=serving,
            )
            with writing(out):
                write_out(out, source, plan, part, report, with_counts=with_counts)
            part.remove()
    return dataclasses.replace(report, seconds=time.monotonic() - began)


def check_file(source: str | Path, client: Client | str, *, progress: Progress | None = None, **choices: Any) -> Report:
    """What `encode_file` would do, without encoding or writing: every count is looked at, the server sees some cells.

    Args:
        source: as for `encode_file`.
        client: whom to ask, or the address of a server.
        progress: told of the cells looked at.
        **choices: those of `Choices`.

    Raises:
        InputError: what `encode_file` would raise.
        TotalviError: the server refuses, or does not answer.
    """
    source = Path(source)
    with client_of(client) as asked, _planned(source, None, asked, _choices(choices)) as plan:
        report = look_at(plan, asked, progress)
    return dataclasses.replace(report, source=str(source))


@contextlib.contextmanager
def _planned(source: Path, scratch: Path | None, client: Client, choices: Choices) -> Iterator[Plan]:
    """The plan for a file, which is open meanwhile."""
    check_there(source)
    card = card_of(client, choices)
    with open_file(source, card, choices, scratch=scratch) as holdings:
        with damaged(source):
            plan = plan_for(holdings, card, choices)
        yield plan


def check_there(source: Path) -> None:
    """Refuse a mistyped name before a server is waited for.

    Raises:
        InputError: there is neither a file nor a folder of it.
    """
    if not source.exists():
        raise InputError(f"there is no file {source}")


def _choices(given: dict[str, Any]) -> Choices:
    known = {field.name for field in dataclasses.fields(Choices)}
    for name in given:
        if name not in known:
            raise TypeError(f"there is no choice {name!r}; there are: {', '.join(sorted(known))}")
    return Choices(**given)


def _question(source: Path, plan: Plan, with_counts: bool) -> dict[str, Any]:
    """All that the result depends on, so that slices of another result are never taken for its own."""
    choices = {
        field.name: _exact(getattr(plan.choices, field.name))
        for field in dataclasses.fields(Choices)
        if field.name not in _NO_MATTER
    }
    return choices | {
        "source file": identity(source),
        "model name": plan.card.name,
        "model version": plan.card.version,
        "model digest": plan.card.sha256,
        "seed": plan.choices.seed,
        "n_cells": plan.n_cells,
        "slice_cells": plan.slice_cells,
        "places of counts": [plan.counts.layer, plan.genes.column, plan.proteins.place],
        "protein_names": list(plan.proteins.names),
        "with_counts": with_counts,
        "client version": installed_version(),
    }


def _exact(value: Any) -> Any:
    """A choice as JSON that tells it from any other: 1 from True and from "1", and every element of what has many."""
    if hasattr(value, "items"):
        return sorted(([_exact(key), _exact(one)] for key, one in value.items()), key=repr)
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return [_exact(one) for one in value]
    return repr(value)


def _needed_bytes(source: Path, out: Path, plan: Plan) -> int:
    kept = 4 * plan.n_cells * sum(part.size for part in plan.kept)
    if out.suffix.casefold() == ".csv":
        return 4 * kept
    copied = 0 if out.suffix.casefold() == ".npz" else sum(size for size, _ in identity(source).values())
    return 2 * kept + copied
