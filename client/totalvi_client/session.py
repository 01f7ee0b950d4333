"""The talk with a server, without a socket, a clock or a thread of its own: what to ask next, and when to wait.

Each method is a generator of steps. Whoever drives it, blocking or on an event loop, does what the step says and sends
back the answer, or throws in the error; what the generator returns is the result.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

from totalvi_client import message
from totalvi_client.cells import ReadCells
from totalvi_client.errors import (
    TOO_LATE,
    DeadlineExceeded,
    NoAnswer,
    NotFound,
    ServiceError,
    TooLarge,
    TotalviError,
    Unavailable,
)
from totalvi_client.joining import joined, joined_validations
from totalvi_client.options import Options
from totalvi_client.parts import cut, learned
from totalvi_client.question import Answer, Method, Question
from totalvi_client.results import Card, Encoding, Limits, Validation
from totalvi_client.retry import Retry

T = TypeVar("T")

_SMALL_CELLS, _SMALL_BYTES, _SMALL_DRAWS = 1024, 1 << 20, 1 << 16
"""Up to these nobody asks for the limits first: hardly a server is set below them, and one that is says so."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ask:
    """Make a call.

    Attributes:
        question: what to ask.
        timeout_s: until the deadline; None: there is none.
    """

    question: Question
    timeout_s: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """Wait.

    Attributes:
        seconds: how long.
    """

    seconds: float


Steps: TypeAlias = Generator[Ask | Pause, Any, T]
"""An `Ask` is to be sent its `Answer`, or thrown the error; of a `Pause` nothing is expected."""


class Deadline:
    """When a call is to be over, retries and all.

    Args:
        timeout_s: from now; None: never.
        clock: seconds that only rise.
    """

    def __init__(self, timeout_s: float | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = None if timeout_s is None else clock() + timeout_s

    def left_s(self) -> float | None:
        """Seconds until then; None: there is no end."""
        return None if self._end is None else self._end - self._clock()


class Session:
    """What a client knows of its server, and how it asks.

    Args:
        retry: when to ask again.
        tells_limits: whether the transport can ask for the limits; else they are learned from refusals.
        clock: seconds that only rise.
        lot: draws a number from 0 to 1.
    """

    def __init__(
        self,
        retry: Retry,
        *,
        tells_limits: bool,
        clock: Callable[[], float] = time.monotonic,
        lot: Callable[[], float] = random.random,
    ) -> None:
        self._retry, self._tells_limits, self._clock, self._lot = retry, tells_limits, clock, lot
        self._limits: Limits | None = None if tells_limits else Limits()
        self._heard = False

    def deadline(self, timeout_s: float | None) -> Deadline:
        """A deadline that begins now."""
        return Deadline(timeout_s, self._clock)

    def parts(self, cells: ReadCells, options: Options, deadline: Deadline) -> Steps[list[tuple[int, int]]]:
        """Into what calls cells are to be cut: first and last plus one of each."""
        row_bytes = cells.row_bytes()
        small = (
            cells.n_cells <= _SMALL_CELLS
            and int(row_bytes.sum()) <= _SMALL_BYTES
            and cells.n_cells * options.draws <= _SMALL_DRAWS
        )
        if small:
            return [(0, cells.n_cells)]
        limits = self._limits or (yield from self.limits(deadline))
        return (yield from self._cut(cells, options, deadline, limits))

    def encode(self, cells: ReadCells, options: Options, priority: str | None, deadline: Deadline) -> Steps[Encoding]:
        """Encode cells in one call, or in several where the server finds them too large."""
        body = message.options_message(options) + message.cells_message(cells, options.first_cell)
        try:
            answer = yield from self.answered(Question(Method.ENCODE, body, priority=priority), deadline)
        except TooLarge as error:
            encodings: list[Encoding] = []
            for start, stop in (yield from self._smaller(error, len(body), cells, options, deadline)):
                part = dataclasses.replace(options, first_cell=options.first_cell + start)
                if encodings:
                    part = dataclasses.replace(part, model=encodings[0].model, version=encodings[0].model_version)
                encodings.append((yield from self.encode(cells.rows(start, stop), part, priority, deadline)))
            return joined(encodings)
        return message.read_encoding(answer, cells.n_cells)

    def validate(
        self, cells: ReadCells, options: Options, priority: str | None, deadline: Deadline
    ) -> Steps[Validation]:
        """Check cells, in as many calls as they take."""
        found = []
        parts = yield from self.parts(cells, options, deadline)
        for start, stop in parts:
            found.append((yield from self._validate(cells.rows(start, stop), options, priority, deadline)))
        return joined_validations(found)

    def models(self, deadline: Deadline) -> Steps[list[Card]]:
        """The cards of all models."""
        return message.read_cards((yield from self.answered(Question(Method.MODELS), deadline)))

    def server_version(self, deadline: Deadline) -> Steps[str | None]:
        """Of the service; None for one that does not tell it yet."""
        return message.read_server_version((yield from self.answered(Question(Method.MODELS), deadline)))

    def model(self, name: str | None, version: str | None, deadline: Deadline) -> Steps[Card]:
        """The card of one model, or of the only one."""
        if name is None:
            cards = yield from self.models(deadline)
            if len(cards) != 1:
                known = ", ".join(card.name for card in cards) or "none"
                raise NotFound(f"name one of the served models: {known}", field="model")
            if version is None:
                return cards[0]
            name = cards[0].name
        question = Question(Method.MODEL, model=name, version=version)
        return message.read_card((yield from self.answered(question, deadline)))

    def ready_model(self, name: str | None, version: str | None, deadline: Deadline) -> Steps[Card]:
        """The card of a model that is ready; one that is not yet is waited for as a server is."""
        n_made = 0
        while True:
            card = yield from self.model(name, version, deadline)
            if card.ready:
                return card
            n_made += 1
            error = Unavailable(f"model {card.name} is not ready: {card.reason or card.state}")
            wait_s = self._retry.wait_s(error, n_made, self._lot(), deadline.left_s())
            if wait_s is None:
                raise error
            yield Pause(wait_s)

    def limits(self, deadline: Deadline) -> Steps[Limits]:
        """What one request may ask for, as far as the server tells it."""
        if self._tells_limits:
            self._limits = message.read_limits((yield from self.answered(Question(Method.LIMITS), deadline)))
        return self._limits or Limits()

    def answered(self, question: Question, deadline: Deadline) -> Steps[Answer]:
        """Ask until there is an answer, as long as retries and deadline allow."""
        n_made = 0
        while True:
            left_s = deadline.left_s()
            if left_s is not None and left_s <= 0:
                raise DeadlineExceeded(TOO_LATE, request_id=question.request_id)
            try:
                answer: Answer = yield Ask(question, left_s)
                self._heard = True
                return answer
            except TotalviError as error:
                n_made += 1
                # A refusal is an answer too, as of a server that is starting.
                self._heard = self._heard or not isinstance(error, NoAnswer | DeadlineExceeded)
                wait_s = self._retry.wait_s(error, n_made, self._lot(), deadline.left_s(), heard=self._heard)
                if wait_s is None:
                    raise
            yield Pause(wait_s)

    def _validate(
        self, cells: ReadCells, options: Options, priority: str | None, deadline: Deadline
    ) -> Steps[Validation]:
        body = message.options_message(options) + message.cells_message(cells, options.first_cell)
        try:
            answer = yield from self.answered(Question(Method.VALIDATE, body, priority=priority), deadline)
        except TooLarge as error:
            found = []
            for start, stop in (yield from self._smaller(error, len(body), cells, options, deadline)):
                found.append((yield from self._validate(cells.rows(start, stop), options, priority, deadline)))
            return joined_validations(found)
        return message.read_validation(answer, cells.n_cells)

    def _smaller(
        self, error: ServiceError, n_bytes: int, cells: ReadCells, options: Options, deadline: Deadline
    ) -> Steps[list[tuple[int, int]]]:
        """The parts that cells are to be cut into after they were refused as one; raises `error` if that is no use."""
        limits = learned(self._limits or Limits(), error.detail, n_bytes)
        if limits is None or cells.n_cells <= 1:
            raise error
        self._limits = limits
        parts = yield from self._cut(cells, options, deadline, limits)
        if len(parts) == 1:
            raise error
        return parts

    def _cut(
        self, cells: ReadCells, options: Options, deadline: Deadline, limits: Limits
    ) -> Steps[list[tuple[int, int]]]:
        n_latent = 0
        if options.draws:
            card = yield from self.ready_model(options.model, options.version, deadline)
            n_latent = card.n_latent or 0
        return cut(
            cells.row_bytes(),
            limits,
            common_bytes=len(message.options_message(options)),
            n_samples=options.draws,
            n_latent=n_latent,
        )
