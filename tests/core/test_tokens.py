from __future__ import annotations

import contextvars
import math
import re
from collections.abc import Sequence

import pytest

from service.core.caller import CALLER
from service.core.errors import ErrorKind, ServiceError
from service.core.tokens import MOST_TOKENS, TRUSTED_S, Tokens, TokensError, bearer_token, digest_of, parse_tokens

ALICE, BOB = "alice-0123456789abcdef", "Bob+/=~._-0123456789"


class Clocks:
    def __init__(self) -> None:
        self.monotonic_s, self.wall_s = 100.0, 1_700_000_000.0


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def tokens(clocks: Clocks) -> Tokens:
    tokens = Tokens(clock=lambda: clocks.monotonic_s, wall_clock=lambda: clocks.wall_s)
    tokens.replace(parse_tokens(f"alice {ALICE}\nbob {BOB} 2023-11-14T22:13:30Z\n".encode()))
    return tokens


def admitted(tokens: Tokens, authorization: Sequence[str]) -> str:
    def admit() -> str:
        tokens.admit(authorization)
        return CALLER.get()

    return contextvars.copy_context().run(admit)


def refused(tokens: Tokens, *authorization: str) -> str:
    with pytest.raises(ServiceError) as caught:
        admitted(tokens, authorization)
    assert caught.value.kind is ErrorKind.UNAUTHENTICATED
    return caught.value.detail


def test_a_list_is_read() -> None:
    lines = f"# the callers\n\nalice {ALICE}\r\n  alice\t{BOB}   2027-01-31\n#bob x\n"
    content = f"{lines}ci@host {'t' * 16} 2027-01-31T12:00+01:00".encode()
    assert [(token.name, token.digest, token.expires_s) for token in parse_tokens(content)] == [
        ("alice", digest_of(ALICE), None),
        ("alice", digest_of(BOB), 1_801_353_600.0),
        ("ci@host", digest_of("t" * 16), 1_801_353_600.0 + 11 * 3600),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sesame", "line 2 is not NAME TOKEN"),
        (f"alice:{ALICE}", "line 2 is not NAME TOKEN"),
        (f"a {BOB} 2027-01-31 sesame", "line 2 is not NAME TOKEN"),
        (f"-a {BOB}", "line 2 has a name"),
        (f"{'a' * 65} {BOB}", "line 2 has a name"),
        ("bob sesame", "line 2 has a token"),
        ("bob sesame" + "é" * 16, "line 2 has a token"),
        ("bob sesame\x00" + "a" * 16, "line 2 has a token"),
        (f"bob {'a' * 4097}", "line 2 has a token"),
        (f"bob {BOB} sesame", "line 2 expires"),
        (f"bob {BOB} 2027-13-01", "line 2 expires"),
        (f"bob {ALICE}", "line 2 has the token of an earlier line"),
    ],
)
def test_a_line_that_is_none_is_told_by_its_number_alone(line: str, said: str) -> None:
    with pytest.raises(TokensError, match=said) as caught:
        parse_tokens(f"alice {ALICE}\n{line}\n".encode())
    assert not re.search(f"sesame|{re.escape(BOB)}|{ALICE}", str(caught.value))


@pytest.mark.parametrize("content", [b"", b"\n \n# nobody\n"])
def test_a_list_of_nobody_is_none(content: bytes) -> None:
    with pytest.raises(TokensError, match="no token"):
        parse_tokens(content)


def test_a_list_has_a_length() -> None:
    lines = [f"a {'t' * 16}{number}" for number in range(MOST_TOKENS + 1)]
    assert len(parse_tokens("\n".join(lines[1:]).encode())) == MOST_TOKENS
    with pytest.raises(TokensError, match="more than 1000"):
        parse_tokens("\n".join(lines).encode())


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_in_any_case(tokens: Tokens, scheme: str) -> None:
    assert admitted(tokens, [f"{scheme} {ALICE}"]) == "alice"
    assert admitted(tokens, [f"{scheme}  {BOB} "]) == "bob"


@pytest.mark.parametrize(
    "authorization",
    [
        (),
        ("",),
        ("Bearer",),
        ("Bearer ",),
        (ALICE,),
        (f"Basic {ALICE}",),
        (f"Bearer{ALICE}",),
        (f"Bearer\t{ALICE}",),
        (f"Bearer {ALICE}", f"Bearer {ALICE}"),
        (f"Bearer {ALICE[:-1]}",),
        (f"Bearer {ALICE}x",),
        (f"Bearer {ALICE} {BOB}",),
        (f"Bearer {ALICE.upper()}",),
        (f"Bearer {BOB.swapcase()}",),
        (f"Bearer alice {ALICE}",),
        ("Bearer alice",),
        (f"Bearer {digest_of(ALICE).hex()}",),
        ("Bearer é\udc80\x00",),
    ],
)
def test_what_is_no_token_is_refused(tokens: Tokens, authorization: tuple[str, ...]) -> None:
    assert not re.search(f"{ALICE}|{re.escape(BOB)}", refused(tokens, *authorization))


def test_what_is_read_is_the_token_alone() -> None:
    assert bearer_token([f"Bearer {ALICE}"]) == ALICE
    assert bearer_token(["Bearer  "]) is None


def test_a_token_expires(tokens: Tokens, clocks: Clocks) -> None:
    clocks.wall_s = 1_700_000_009.9
    assert admitted(tokens, [f"Bearer {BOB}"]) == "bob"
    clocks.wall_s = 1_700_000_010.0
    assert refused(tokens, f"Bearer {BOB}") == "the token has expired"
    assert admitted(tokens, [f"Bearer {ALICE}"]) == "alice"


def test_a_replaced_list_counts_no_more(tokens: Tokens) -> None:
    tokens.replace(parse_tokens(f"carol {BOB}".encode()))
    refused(tokens, f"Bearer {ALICE}")
    assert admitted(tokens, [f"Bearer {BOB}"]) == "carol"


def test_a_list_that_was_not_found_again_is_trusted_no_more(tokens: Tokens, clocks: Clocks) -> None:
    clocks.monotonic_s += TRUSTED_S
    assert admitted(tokens, [f"Bearer {ALICE}"]) == "alice"
    clocks.monotonic_s = math.nextafter(clocks.monotonic_s, math.inf)
    assert not tokens.trusted
    assert refused(tokens, f"Bearer {ALICE}") == "the token is not known here"
    tokens.confirm()
    assert admitted(tokens, [f"Bearer {ALICE}"]) == "alice"


def test_a_refused_call_is_nobodys_though_one_of_somebody_came_before(tokens: Tokens) -> None:
    def one_after_the_other() -> str:
        tokens.admit([f"Bearer {ALICE}"])
        with pytest.raises(ServiceError):
            tokens.admit([])
        return CALLER.get()

    assert contextvars.copy_context().run(one_after_the_other) == ""


def test_all_tokens_are_compared_whichever_it_is(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("service.core.tokens.hmac.compare_digest", compare)
    admitted(tokens, [f"Bearer {ALICE}"])
    assert compared == [digest_of(ALICE), digest_of(BOB)]


def test_nothing_prints_a_token(tokens: Tokens) -> None:
    assert ALICE not in repr(vars(tokens))


def test_when_each_caller_is_shut_out() -> None:
    tokens = Tokens()
    assert tokens.expiries() == {}
    words = [f"{letter}" * 16 for letter in "abcdef"]
    ends = ["1970-01-01T00:00:10Z", "1970-01-01T00:00:30Z", "", "1970-01-01T00:00:20Z", "", "1970-01-01T00:00:40Z"]
    names = ["two", "two", "ever", "both", "both", "one"]
    lines = [f"{name} {word} {end}" for name, word, end in zip(names, words, ends, strict=True)]
    tokens.replace(parse_tokens("\n".join(lines).encode()))
    assert tokens.expiries() == {("two",): 30.0, ("one",): 40.0}
