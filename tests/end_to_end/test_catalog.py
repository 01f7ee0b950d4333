"""Models come, change and go under load: no call fails, every answer is one version's and says which."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.end_to_end import synthetic
from tests.end_to_end.asking import Answer, Ask
from tests.end_to_end.clients import GrpcCaller, RestCaller
from tests.end_to_end.operators import admin, assert_idle, until
from tests.end_to_end.server import PATIENCE_S, START_S, RunningServer, export
from tests.end_to_end.synthetic import NAME, RECIPE, assert_right, assert_same_bits

TOKEN = "correct-horse-battery-staple"
N_CALLERS = 32
N_SWITCHES = 50

MIRRORED = dataclasses.replace(RECIPE, genes=RECIPE.genes[::-1], proteins=RECIPE.proteins[::-1], seed=2)
"""The same columns in the opposite order, with other weights."""

RECIPES = {"one": RECIPE, "other": dataclasses.replace(RECIPE, seed=1), "mirrored": MIRRORED}


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts that are put into models directories, as version 1 of models of these names."""
    saves = tmp_path_factory.mktemp("saves")
    into = tmp_path_factory.mktemp("exports")
    export({name: recipe.write(saves / name) for name, recipe in RECIPES.items()}, into)
    return into


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return file


def put(exports: Path, export_name: str, version: Path) -> None:
    """Put a version in place as export does, in one step."""
    version.parent.mkdir(parents=True, exist_ok=True)
    hidden = version.parent / f".{version.name}.half"
    shutil.copytree(exports / export_name / "1", hidden)
    hidden.rename(version)


def mirrored(ask: Ask) -> Ask:
    """The same cells with their columns in the opposite order."""
    return ask.but(
        gene_counts=ask.gene_counts[:, ::-1].copy(),
        protein_counts=ask.protein_counts[:, ::-1].copy(),
        genes=ask.genes[::-1],
        proteins=ask.proteins[::-1],
    )


class Caller(threading.Thread):
    """Asks again and again, each of its asks in turn, until told to stop; holds every answer against `check`.

    `enough` is set once `goal` holds of it, or it has failed.
    """

    def __init__(
        self,
        encode: Callable[[Ask], Answer],
        asks: Sequence[Ask],
        check: Callable[[Ask, Answer], None],
        goal: Callable[[Caller], bool],
    ) -> None:
        super().__init__(daemon=True)
        self.encode, self.asks, self.check, self.goal = encode, asks, check, goal
        self.n_answers = 0
        self.versions: set[str] = set()
        self.over, self.enough = threading.Event(), threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                ask = self.asks[self.n_answers % len(self.asks)]
                answer = self.encode(ask)
                self.check(ask, answer)
                self.versions.add(answer.facts["model_version"])
                self.n_answers += 1
                if self.goal(self):
                    self.enough.set()
        except BaseException as error:
            self.error = error
            self.enough.set()


@contextlib.contextmanager
def calling(
    server: RunningServer,
    asks: Callable[[int], Sequence[Ask]],
    check: Callable[[Ask, Answer], None],
    goal: Callable[[Caller], bool],
) -> Iterator[list[Caller]]:
    """Callers of both transports while the block runs and until all have reached their goal; none may have failed."""
    with RestCaller(server.http_port) as rest, contextlib.ExitStack() as stack:
        rpcs = [stack.enter_context(GrpcCaller(server.grpc_port)) for _ in range(2)]
        transports = (rest.encode, rpcs[0].encode, rpcs[1].encode)
        callers = [Caller(transports[i % 3], asks(i), check, goal) for i in range(N_CALLERS)]
        for caller in callers:
            caller.start()
        try:
            yield callers
            assert all(caller.enough.wait(START_S) for caller in callers)
        finally:
            for caller in callers:
                caller.over.set()
            for caller in callers:
                caller.join(PATIENCE_S)
    assert [repr(caller.error) for caller in callers if caller.error is not None] == []
    assert not any(caller.is_alive() for caller in callers)


def test_two_models_and_two_versions_without_cross_talk(exports: Path, tmp_path: Path) -> None:
    """One of them has the same genes in the opposite order; callers send either order to either."""
    models = tmp_path / "models"
    served = {(NAME, "1"): "one", (NAME, "2"): "other", ("mirror", "1"): "mirrored"}
    for (model, version), name in served.items():
        put(exports, name, models / model / version)
    cells = [synthetic.cells(n_cells, seed=n_cells) for n_cells in (1, 2, 5)]
    asks = [
        order.but(model=model, version=version)
        for ask in cells
        for order in (ask, mirrored(ask))
        for model, version in served
    ]
    right = {}
    for ask in asks:
        straight = ask if ask.genes == RECIPES[served[ask.model, ask.version]].genes else mirrored(ask)
        right[id(ask)] = synthetic.expected(straight, RECIPES[served[ask.model, ask.version]])

    def check(ask: Ask, answer: Answer) -> None:
        assert (answer.facts["model"], answer.facts["model_version"]) == (ask.model, ask.version)
        assert_right(answer, right[id(ask)])

    with RunningServer(models, "--max-batch-cells", 16) as server:
        server.wait_until_ready()
        with calling(
            server,
            asks=lambda i: asks[i % len(asks) :] + asks[: i % len(asks)],
            check=check,
            goal=lambda caller: caller.n_answers >= len(asks),
        ):
            pass
        assert_idle(server)


def test_switches_under_load(exports: Path, token_file: Path, tmp_path: Path) -> None:
    """RELIABILITY 5. Each switch loads the next version, with the other weights, and drops the one before."""
    versions = tmp_path / "models" / NAME
    exported = ("one", "other")
    put(exports, exported[0], versions / "1")
    ask = synthetic.cells(2, seed=8)
    flags = ("--versions", "latest", "--max-batch-cells", 16, "--admin-token-file", token_file)
    with RunningServer(versions.parent, *flags) as server:
        with RestCaller(server.wait_until_ready().http_port) as rest:
            first = rest.encode(ask)
            put(exports, exported[1], versions / "2")
            assert admin(server, "POST", f"/{NAME}/load", TOKEN).status_code == 200
            answers = [first, rest.encode(ask)]
        assert [answer.facts["model_version"] for answer in answers] == ["1", "2"]
        for answer, name in zip(answers, exported, strict=True):
            assert_right(answer, synthetic.expected(ask, RECIPES[name]))

        def check(_: Ask, answer: Answer) -> None:
            assert_same_bits(answer, answers[(int(answer.facts["model_version"]) - 1) % 2])

        last = str(N_SWITCHES + 2)
        with calling(server, lambda i: [ask], check, lambda caller: last in caller.versions) as callers:
            for version in range(3, N_SWITCHES + 3):
                put(exports, exported[(version - 1) % 2], versions / str(version))
                told = admin(server, "POST", f"/{NAME}/load", TOKEN).json()
                assert told == {"models": [{"name": NAME, "version": str(version), "state": "ready", "reason": ""}]}
                shutil.rmtree(versions / str(version - 1))
        seen = set().union(*(caller.versions for caller in callers))
        assert_idle(server)
        assert TOKEN not in "\n".join(server.lines)
    # Most of them, in truth; a machine may be slow.
    assert len(seen) >= 5
    assert [record for record in server.records if record["level"] not in ("debug", "info")] == []


def write(content: Callable[[bytes], bytes]) -> Callable[[Path, Path], None]:
    def put_damaged(version: Path, good: Path) -> None:
        version.mkdir()
        (version / "encoder.pt").write_bytes(content(good.read_bytes()))

    return put_damaged


def link(version: Path, good: Path) -> None:
    version.mkdir()
    (version / "encoder.pt").symlink_to(good)


def pipe(version: Path, good: Path) -> None:
    version.mkdir()
    os.mkfifo(version / "encoder.pt")


BAD: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "truncated": (write(lambda content: content[: len(content) // 2]), "is truncated"),
    "corrupt": (write(lambda content: content[:9000] + bytes([content[9000] ^ 1]) + content[9001:]), "is damaged"),
    "empty": (write(lambda content: b""), "is not an artifact"),
    "another format": (write(lambda content: b"PK of another kind"), "is not an artifact"),
    "half-written": (lambda version, good: version.mkdir(), "there is no encoder.pt"),
    "a link out of the directory": (link, "leads out of the models directory"),
    "a folder that leads out": (lambda version, good: version.symlink_to(good.parent), "leads out of the models"),
    "a pipe": (pipe, "is not a regular file"),
}


def test_what_cannot_be_served_disturbs_nothing(exports: Path, token_file: Path, tmp_path: Path) -> None:
    versions = tmp_path / "models" / NAME
    put(exports, "one", versions / "1")
    good = exports / "other" / "1" / "encoder.pt"
    allowed = tmp_path / "allowed"
    ask = synthetic.cells(3)

    def allow(*files: Path) -> None:
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]
        allowed.write_text("\n".join(digests))

    first = versions / "1" / "encoder.pt"
    allow(first)
    flags = ("--max-batch-cells", 16, "--admin-token-file", token_file, "--allowed-sha256-file", allowed)
    with (
        RunningServer(versions.parent, *flags) as server,
        RestCaller(server.wait_until_ready().http_port) as rest,
    ):
        before = rest.encode(ask)

        def assert_refused(told: str, case: str) -> None:
            refused = admin(server, "POST", f"/{NAME}/load", TOKEN)
            assert refused.status_code == 422, case
            assert told in refused.json()["detail"], case
            states = admin(server, "GET", "", TOKEN).json()["models"]
            assert [state["state"] for state in states] == ["ready", "failed"], case
            assert told in states[1]["reason"], case
            assert str(tmp_path) not in refused.text + str(states), case
            assert_same_bits(rest.encode(ask), before)

        for case, (damage, told) in BAD.items():
            damage(versions / "2", good)
            allow(first, versions / "2" / "encoder.pt")
            assert_refused(told, case)
            if (versions / "2").is_symlink():
                (versions / "2").unlink()
            else:
                shutil.rmtree(versions / "2")
        put(exports, "other", versions / "2")
        allow(first)
        assert_refused("not among the allowed ones", "wrong digest")

        allow(first, versions / "2" / "encoder.pt")
        assert admin(server, "POST", f"/{NAME}/load", TOKEN).status_code == 200
        assert rest.encode(ask).facts["model_version"] == "2"
        assert_idle(server)


def test_the_directory_is_followed(exports: Path, tmp_path: Path) -> None:
    versions = tmp_path / "models" / NAME
    put(exports, "one", versions / "1")
    ask = synthetic.cells(3)
    flags = ("--max-batch-cells", 16, "--watch-models", 0.05)
    with (
        RunningServer(versions.parent, *flags) as server,
        RestCaller(server.wait_until_ready().http_port) as rest,
    ):
        put(exports, "other", versions / "2")
        assert until(lambda: rest.encode(ask).facts["model_version"] == "2")
        assert_right(rest.encode(ask), synthetic.expected(ask, RECIPES["other"]))
        assert rest.encode(ask.but(version="1")).facts["model_version"] == "1"
        shutil.rmtree(versions / "2")
        assert until(lambda: rest.encode(ask).facts["model_version"] == "1")
        # Without a token file nobody is let in.
        assert admin(server, "POST", f"/{NAME}/unload", TOKEN).status_code == 403


def test_a_token_file_that_cannot_be_used(synthetic_models: Path, token_file: Path) -> None:
    token_file.write_text("short")
    with RunningServer(synthetic_models, "--admin-token-file", token_file) as server:
        assert server.wait() == 1
    (record,) = server.records
    assert record["message"] == f"--admin-token-file: {token_file} must hold one word of 16 or more plain characters"
