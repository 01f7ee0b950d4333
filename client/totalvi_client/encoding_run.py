"""Sends the cells of a plan and takes the answers, in order, every one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from totalvi_client.choices import Choices
from totalvi_client.client import Client
from totalvi_client.errors import InputError, ModelChanged, NotFound, UnexpectedAnswer
from totalvi_client.part_file import Arrays
from totalvi_client.plan import Plan
from totalvi_client.results import Card, Notice
from totalvi_client.retry import PATIENT

Progress: TypeAlias = Callable[[int, int], None]
"""Told of the cells that are done, and of how many there are."""

Take: TypeAlias = Callable[[int, Arrays, tuple[Notice, ...]], None]
"""Takes the first cell of a slice, its values, and its warnings."""


@contextlib.contextmanager
def client_of(client: Client | str) -> Iterator[Client]:
    """A client as it was given, or one for an address, patient enough for a server that is restarted."""
    if isinstance(client, str):
        with Client(client, timeout=None, retry=PATIENT) as own:
            yield own
    else:
        yield client


def card_of(client: Client, choices: Choices) -> Card:
    """The card of the model that is asked for.

    Raises:
        InputError: it does not answer yet.
    """
    card = client.model(choices.model, choices.version)
    if not card.ready:
        why = f": {card.reason}" if card.reason else ""
        raise InputError(
            f"the model {card.name} version {card.version} is {card.state}{why}; ask again when it is ready"
        )
    return card


def encode_cells(plan: Plan, client: Client, take: Take, *, first: int = 0, progress: Progress | None = None) -> None:
    """Encode the cells from `first` on.

    Args:
        plan: which cells, and what is kept.
        client: whom to ask.
        take: is given each slice, in order.
        first: cells before it are there already.
        progress: is told after each slice.

    Raises:
        InputError: for counts that are none.
        ModelChanged: the model is not the plan's any more, be it that all cells were there already.
        TotalviError: for what the server refuses, or where it does not answer.
    """
    done = first
    if progress is not None:
        progress(done, plan.n_cells)
    if done == plan.n_cells:
        _check_card(plan, client)
        return
    options: dict[str, Any] = plan.options()
    answers = client.encode_stream(
        plan.slices(first), sha256=plan.card.sha256, first_cell=first, in_flight=plan.choices.in_flight, **options
    )
    for encoding in answers:
        expected = min(plan.slice_cells, plan.n_cells - done)
        if encoding.n_cells != expected or str(encoding.model_version) != str(plan.card.version):
            raise UnexpectedAnswer(
                f"{expected} cells were sent to version {plan.card.version}, and {encoding.n_cells} came back from "
                f"version {encoding.model_version}",
                request_id=encoding.request_id,
            )
        take(done, plan.kept_of(encoding), encoding.warnings)
        done += encoding.n_cells
        if progress is not None:
            progress(done, plan.n_cells)
    if done != plan.n_cells:
        raise UnexpectedAnswer(f"the answers ended after {done} of {plan.n_cells} cells")
    _check_card(plan, client)


def _check_card(plan: Plan, client: Client) -> None:
    """Look whether the model is still the one that the plan was made for: the stream knows only its own slices."""
    card = plan.card
    try:
        digest = client.model(card.name, card.version).sha256
    except NotFound:
        digest = ""
    if digest != card.sha256:
        raise ModelChanged(
            f"version {card.version} of model {card.name} was exchanged or removed while cells were encoded with it: "
            "encode all of them again"
        )
