"""A server and a clock without sockets and sleep: what drives a session's steps in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from totalvi_client.errors import TotalviError
from totalvi_client.question import Answer, Question
from totalvi_client.retry import Retry
from totalvi_client.session import Ask, Session, Steps


def answer(body: bytes = b"", *, is_json: bool = False) -> Answer:
    return Answer(body, is_json, "id-of-server", {"compute": 1.0})


class Talk:
    """Drives steps: each question takes `call_s` of its own clock and is answered by `replies`.

    Attributes:
        asked: the questions so far, and what was left until the deadline.
        pauses: seconds of each.
        now: of its clock.
    """

    def __init__(
        self,
        replies: Callable[[Question], Answer] | list[Answer | Exception],
        *,
        retry: Retry | None = None,
        tells_limits: bool = True,
        call_s: float = 0.0,
        lot: float = 1.0,
    ) -> None:
        self.asked: list[tuple[Question, float | None]] = []
        self.pauses: list[float] = []
        self.now = 1000.0
        self._call_s = call_s
        self._replies = replies
        self.session = Session(retry or Retry(), tells_limits=tells_limits, clock=lambda: self.now, lot=lambda: lot)

    @property
    def questions(self) -> list[Question]:
        return [question for question, _ in self.asked]

    def run(self, steps: Steps[Any]) -> Any:
        try:
            step = next(steps)
            while True:
                if not isinstance(step, Ask):
                    self.pauses.append(step.seconds)
                    self.now += step.seconds
                    step = steps.send(None)
                    continue
                try:
                    replied = self._reply(step)
                except TotalviError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(replied)
        except StopIteration as end:
            return end.value

    def _reply(self, step: Ask) -> Answer:
        self.asked.append((step.question, step.timeout_s))
        self.now += self._call_s
        if callable(self._replies):
            return self._replies(step.question)
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply
