from __future__ import annotations

import contextvars
import logging
import os
from pathlib import Path

import pytest

from service.core.errors import ServiceError
from service.core.tokens import TRUSTED_S, Tokens, TokensError
from service.token_file import MAX_BYTES, TokenFile

OLD, NEW = "old-0123456789abcdef", "new-0123456789abcdef"


class Followed:
    def __init__(self, path: Path) -> None:
        self.now_s = 0.0
        self.tokens = Tokens(clock=lambda: self.now_s)
        self.file = TokenFile(path, self.tokens)

    def knows(self, token: str) -> bool:
        try:
            contextvars.copy_context().run(self.tokens.admit, [f"Bearer {token}"])
        except ServiceError:
            return False
        return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"alice {OLD}\n")
    return path


@pytest.fixture
def followed(path: Path, caplog: pytest.LogCaptureFixture) -> Followed:
    caplog.set_level(logging.INFO, "service.token_file")
    return Followed(path)


def test_a_change_is_taken_up(path: Path, followed: Followed, caplog: pytest.LogCaptureFixture) -> None:
    assert followed.knows(OLD)
    path.write_text(f"alice {NEW}\nalice {OLD}x\n")
    followed.file.refresh()
    assert (followed.knows(OLD), followed.knows(NEW)) == (False, True)
    followed.file.refresh()
    assert [record.getMessage() for record in caplog.records] == ["tokens: 2, of 1 callers"]


def test_a_change_that_keeps_size_and_time_is_seen(path: Path, followed: Followed) -> None:
    before = path.stat()
    path.write_text(f"alice {NEW}\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    followed.file.refresh()
    assert followed.knows(NEW)


def test_a_secret_that_kubernetes_swaps_is_seen(tmp_path: Path) -> None:
    for version, token in (("..1", OLD), ("..2", NEW)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "tokens").write_text(f"alice {token}\n")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "tokens").symlink_to("..data/tokens")
    followed = Followed(tmp_path / "tokens")
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    followed.file.refresh()
    assert (followed.knows(OLD), followed.knows(NEW)) == (False, True)


@pytest.mark.parametrize("damage", ["gone", "empty", "a directory", "no list", "too long"])
def test_a_file_that_cannot_be_used_holds_for_a_while(
    path: Path, followed: Followed, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path.unlink()
    if damage == "a directory":
        path.mkdir()
    elif damage != "gone":
        path.write_text({"empty": "", "no list": f"{NEW}\n", "too long": "#" * (MAX_BYTES + 1)}[damage])
    followed.now_s = TRUSTED_S
    followed.file.refresh()
    followed.file.refresh()
    assert followed.knows(OLD)
    followed.now_s += 0.5
    followed.file.refresh()
    followed.file.refresh()
    assert not followed.knows(OLD)

    if path.is_dir():
        path.rmdir()
    path.write_text(f"alice {OLD}\n")
    followed.file.refresh()
    assert followed.knows(OLD)

    trouble, worse, well = [record.getMessage() for record in caplog.records]
    assert trouble.startswith("the tokens file cannot be used: ")
    assert trouble.endswith("; its last tokens hold for 60 s")
    assert worse.endswith("; every call is refused")
    assert well == "the tokens file can be used again"
    assert not any(secret in caplog.text for secret in (OLD, NEW))


def test_a_file_that_cannot_be_used_at_the_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(TokensError, match=r"cannot be read \(No such file"):
        TokenFile(tmp_path / "tokens", Tokens())
