from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from totalvi_client.cells import Cells, ReadCells, read_cells
from totalvi_client.errors import (
    DeadlineExceeded,
    InputError,
    Invalid,
    ModelChanged,
    NotFound,
    Overloaded,
    ServiceError,
    TooLarge,
    Unavailable,
    Unreachable,
)
from totalvi_client.options import read_options
from totalvi_client.question import Answer, Method, Question
from totalvi_client.results import Encoding, Limits
from totalvi_client.retry import PATIENT, Retry
from totalvi_client.stream import Stream
from totalvi_client.stubs import totalvi_v1_pb2 as pb

from .talk import Talk, answer

MODELS = Question(Method.MODELS)


def cells(n_cells: int = 2, start: int = 0) -> ReadCells:
    return read_cells(
        Cells(np.arange(start, start + n_cells)[:, None] + np.ones((1, 3)), cells=range(start, start + n_cells))
    )


class Server:
    """Answers as a service with these limits would; z tells each cell's index, and the seed of the draws.

    Attributes:
        limits: of one request.
        sha256: on the card.
        version: that answers.
        state: on the card.
    """

    def __init__(self, **limits: int) -> None:
        self.limits = dataclasses.replace(Limits(), **limits)
        self.sha256, self.version, self.state = "a" * 64, "3", "ready"

    def __call__(self, question: Question) -> Answer:
        if question.method is Method.LIMITS:
            return answer(json.dumps(dataclasses.asdict(self.limits)).encode(), is_json=True)
        card = {"name": "m", "version": self.version, "versions": [self.version], "state": self.state}
        card |= {"sha256": self.sha256, "n_latent": 3}
        if question.method is Method.MODEL:
            return answer(json.dumps(card).encode(), is_json=True)
        if question.method is Method.MODELS:
            return answer(json.dumps({"models": [card]}).encode(), is_json=True)
        return self.encoded(question)

    def encoded(self, question: Question) -> Answer:
        request = pb.EncodeRequest.FromString(question.body)
        n_cells = len(request.cells)
        if n_cells > self.limits.max_request_cells:
            raise TooLarge(f"{n_cells} cells are over max_request_cells = {self.limits.max_request_cells}; split")
        if len(question.body) > self.limits.max_request_bytes:
            raise TooLarge("HTTP status 413 from something that is not the service itself")
        if question.method is Method.VALIDATE:
            return answer(pb.ValidateResponse(model="m", n_cells=n_cells).SerializeToString())
        response = pb.EncodeResponse(model="m", model_version=self.version, n_cells=n_cells, cells=request.cells)
        index = np.arange(request.first_cell, request.first_cell + n_cells, dtype="<f4")
        for tensor, values in ((response.z, index), (response.ql.mean, index * 0 + request.seed)):
            tensor.dtype, tensor.data = pb.Tensor.F32, values.astype("<f4").tobytes()
            tensor.shape.extend(values.shape)
        response.ql.variance.CopyFrom(response.ql.mean)
        response.warnings.add(code="missing_genes", detail="2 genes", count=2)
        return answer(response.SerializeToString())


def test_one_question_one_answer() -> None:
    talk = Talk([answer(b"x")])
    assert talk.run(talk.session.answered(MODELS, talk.session.deadline(30))).body == b"x"
    assert talk.asked == [(MODELS, 30)]


def test_what_may_pass_is_asked_again_under_the_same_id_with_what_is_left_of_the_time() -> None:
    replies = [Unreachable("gone"), Overloaded("full", retry_after_s=2), Unavailable("starting"), answer(b"x")]
    talk = Talk(replies, call_s=0.5)
    assert talk.run(talk.session.answered(MODELS, talk.session.deadline(30))).body == b"x"
    assert talk.pauses == [0.25, 2.5, 1.0]
    assert [left for _, left in talk.asked] == [30, 29.25, 26.25, 24.75]
    assert {question.request_id for question in talk.questions} == {MODELS.request_id}


@pytest.mark.parametrize("error", [Invalid("x"), DeadlineExceeded("x"), NotFound("x"), ServiceError("x", code="new")])
def test_what_will_not_pass_is_raised_at_once(error: ServiceError) -> None:
    talk = Talk([error])
    with pytest.raises(type(error)) as caught:
        talk.run(talk.session.answered(MODELS, talk.session.deadline(None)))
    assert caught.value is error
    assert talk.pauses == []


def test_attempts_end_with_the_last_error() -> None:
    errors = [Unreachable(str(n)) for n in range(3)]
    talk = Talk(list(errors), retry=Retry(attempts=3))
    with pytest.raises(Unreachable) as caught:
        talk.run(talk.session.answered(MODELS, talk.session.deadline(None)))
    assert caught.value is errors[2]
    assert talk.asked == [(MODELS, None)] * 3


def test_a_patient_one_is_so_once_a_server_has_answered() -> None:
    """Until then the address may be wrong, and its user waits for nothing."""

    def asked(*replies: Answer | Exception) -> int:
        talk = Talk([*replies, *[Unreachable("refused")] * 20], retry=PATIENT)
        with pytest.raises(Unreachable):
            for _ in range(2):
                talk.run(talk.session.answered(MODELS, talk.session.deadline(None)))
        return len(talk.questions)

    assert asked() == 5
    assert asked(answer()) == 1 + PATIENT.attempts
    assert asked(Unavailable("the service is starting")) == PATIENT.attempts


def test_no_pause_beyond_the_deadline() -> None:
    talk = Talk([Overloaded("full", retry_after_s=60)])
    with pytest.raises(Overloaded):
        talk.run(talk.session.answered(MODELS, talk.session.deadline(30)))
    assert talk.pauses == []


def test_a_deadline_that_has_passed_asks_nothing() -> None:
    talk = Talk([])
    deadline = talk.session.deadline(1)
    talk.now += 1
    with pytest.raises(DeadlineExceeded, match="before the deadline"):
        talk.run(talk.session.answered(MODELS, deadline))
    assert talk.asked == []


def encode(talk: Talk, n_cells: int, **options: object) -> Encoding:
    found = talk.run(
        talk.session.encode(cells(n_cells), read_options(**options), None, talk.session.deadline(30))  # type: ignore[arg-type]
    )
    assert isinstance(found, Encoding)
    return found


def test_a_small_matrix_is_one_call_and_no_other() -> None:
    talk = Talk(Server())
    assert talk.run(talk.session.parts(cells(5), read_options(), talk.session.deadline(1))) == [(0, 5)]
    assert talk.asked == []


def test_the_limits_are_asked_once_before_a_large_one() -> None:
    talk = Talk(Server(max_request_cells=800))
    for _ in range(2):
        parts = talk.run(talk.session.parts(cells(1025), read_options(), talk.session.deadline(1)))
        assert parts == [(start, min(start + 200, 1025)) for start in range(0, 1025, 200)]
    assert [question.method for question in talk.questions] == [Method.LIMITS]


def test_draws_are_held_against_the_models_size() -> None:
    talk = Talk(Server(max_sample_values=4 * 70 * 800))
    parts = talk.run(talk.session.parts(cells(1000), read_options(n_samples=70), talk.session.deadline(1)))
    assert parts == [(start, start + 200) for start in range(0, 1000, 200)]


@pytest.mark.parametrize("limits", [{"max_request_cells": 8}, {"max_request_bytes": 10_000}])
def test_what_is_refused_as_too_large_is_cut(limits: dict[str, int]) -> None:
    talk = Talk(Server(**limits), tells_limits=False)
    found = encode(talk, 3000, first_cell=5, seed=7, n_samples=2, version="3")
    assert found.n_cells == 3000
    assert found.cells == tuple(map(str, range(3000)))
    assert found.z is not None
    assert found.z.tolist() == list(range(5, 3005))
    assert found.ql is not None
    assert set(found.ql.mean.tolist()) == {7}
    assert [notice.code for notice in found.warnings] == ["missing_genes"]
    assert len(talk.questions) > 3
    validation = talk.run(talk.session.validate(cells(3000), read_options(), None, talk.session.deadline(30)))
    assert validation.n_cells == 3000


def test_parts_stay_with_the_version_of_the_first() -> None:
    server = Server(max_request_cells=8)

    def moves_on(question: Question) -> Answer:
        # A new default version appears after the first answer.
        named = pb.EncodeRequest.FromString(question.body).model_version
        server.version = named or server.version
        found = server(question)
        server.version = "4"
        return found

    talk = Talk(moves_on, tells_limits=False)
    assert encode(talk, 9).model_version == "3"


def test_a_cell_that_is_too_large_alone_is_told() -> None:
    talk = Talk(Server(max_request_bytes=10), tells_limits=False)
    with pytest.raises(TooLarge):
        encode(talk, 3)


def test_draws_over_the_limit_are_told_not_cut() -> None:
    talk = Talk([TooLarge("9 samples are over max_samples = 8")], tells_limits=False)
    with pytest.raises(TooLarge, match="max_samples"):
        encode(talk, 3)


def test_the_only_model_needs_no_name() -> None:
    talk = Talk(Server())
    assert talk.run(talk.session.model(None, None, talk.session.deadline(1))).name == "m"
    assert talk.run(talk.session.model(None, "2", talk.session.deadline(1))).version == "3"
    assert talk.questions[-1].version == "2"
    two = Talk([answer(b'{"models": []}', is_json=True)])
    with pytest.raises(NotFound, match="none"):
        two.run(two.session.model(None, None, two.session.deadline(1)))


def test_a_model_that_is_loading_is_waited_for_and_one_that_failed_too_but_not_for_ever() -> None:
    server = Server()
    server.state = "loading"
    talk = Talk(server)
    with pytest.raises(Unavailable, match="not ready: loading"):
        talk.run(talk.session.ready_model("m", None, talk.session.deadline(None)))
    assert talk.pauses == [0.25, 0.5, 1.0, 2.0]


def stream(talk: Talk, sizes: list[int], **options: object) -> list[Encoding]:
    deadline = talk.session.deadline(None)
    of = Stream(talk.session, read_options(**options), "bulk")  # type: ignore[arg-type]
    talk.run(of.open(deadline))
    starts = np.cumsum([0, *sizes])[:-1]
    taken = [of.take(cells(size, start)) for size, start in zip(sizes, starts, strict=True)]
    # Whichever is answered first, each has its place.
    found = [talk.run(of.encode(one, deadline)) for one in reversed(taken)]
    talk.run(of.close(deadline))
    return found[::-1]


def test_slices_are_parts_of_one_matrix() -> None:
    talk = Talk(Server())
    found = stream(talk, [2, 0, 3], first_cell=10, n_samples=2)
    assert [one.z.tolist() for one in found if one.z is not None] == [[10, 11], [], [12, 13, 14]]
    requests = [pb.EncodeRequest.FromString(one.body) for one in talk.questions if one.method is Method.ENCODE]
    assert {(one.model, one.model_version) for one in requests} == {("m", "3")}
    assert len({one.seed for one in requests}) == 1
    assert [[notice.code for notice in one.warnings] for one in found] == [["missing_genes"], [], []]
    assert {one.priority for one in talk.questions if one.method is Method.ENCODE} == {"bulk"}


def test_a_refusal_tells_the_cells_it_is_about() -> None:
    server = Server()
    server.encoded = lambda question: (_ for _ in ()).throw(Invalid("a negative count", index=1, request_id="q"))  # type: ignore[method-assign]
    talk = Talk(server)
    with pytest.raises(Invalid) as caught:
        stream(talk, [4, 3], first_cell=10)
    assert (caught.value.cells, caught.value.index) == ((14, 16), 1)
    assert str(caught.value) == "cells 14 to 16: a negative count (request q)"


@pytest.mark.parametrize("change", ["sha256", "version", "gone", "gone at the end"])
def test_a_model_that_was_exchanged_meanwhile_is_noticed(change: str) -> None:
    server = Server()
    replied = 0

    def exchanged(question: Question) -> Answer:
        nonlocal replied
        replied += 1
        if replied == 3:
            setattr(server, change, "9")
        if replied > 3 and question.method is Method.MODEL and change == "gone at the end":
            raise NotFound("no such version")
        if replied > 3 and question.method is Method.ENCODE and change == "gone":
            raise NotFound("no such version")
        return server(question)

    with pytest.raises(ModelChanged):
        stream(Talk(exchanged), [1, 1, 1], model="m")


def test_a_stream_is_of_the_artifact_that_was_looked_at() -> None:
    talk = Talk(Server())
    for sha256 in ("a" * 64, None):
        talk.run(Stream(talk.session, read_options(), None, sha256).open(talk.session.deadline(None)))
    with pytest.raises(ModelChanged, match="encode all of them again"):
        talk.run(Stream(talk.session, read_options(), None, "b" * 64).open(talk.session.deadline(None)))


def test_a_slice_of_its_own_needs_no_second_look() -> None:
    talk = Talk(Server())
    stream(talk, [3], model="m")
    assert [question.method for question in talk.questions] == [Method.MODEL, Method.ENCODE]


def test_proteins_come_with_every_slice_or_none() -> None:
    of = Stream(Talk([]).session, read_options(), None)
    of.take(read_cells(Cells(np.ones((1, 2)), np.ones((1, 2)))))
    with pytest.raises(InputError, match="every slice"):
        of.take(read_cells(Cells(np.ones((1, 2)))))


def test_names_come_with_the_first_slice_and_stay() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame([[1, 2]], columns=["a", "b"])
    of = Stream(Talk([]).session, read_options(), None)
    assert of.take(read_cells(Cells(frame, frame))).options.genes == ("a", "b")
    second = of.take(read_cells(Cells(frame, frame)))
    assert (second.options.genes, second.options.proteins) == (("a", "b"), ("a", "b"))
    for other in (frame[["b", "a"]], frame.to_numpy()):
        with pytest.raises(InputError, match="the genes of a slice"):
            of.take(read_cells(Cells(other, frame)))
    given = Stream(Talk([]).session, read_options(genes=["x", "y"]), None)
    assert given.take(read_cells(Cells(frame))).options.genes == ("x", "y")
    assert given.take(read_cells(Cells(frame[["b", "a"]]))).options.genes == ("x", "y")
