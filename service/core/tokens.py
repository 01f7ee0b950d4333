"""Who may call: named bearer tokens, kept as digests and compared in constant time."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import hmac
import math
import re
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from service.core.caller import CALLER
from service.core.errors import ErrorKind, ServiceError

MIN_TOKEN_CHARACTERS: Final = 16
TOKEN: Final = re.compile(rf"[!-~]{{{MIN_TOKEN_CHARACTERS},4096}}")

MOST_TOKENS: Final = 1000
"""Each call is compared with all of them: about 0.1 ms at this many."""

TRUSTED_S: Final = 60.0
"""How long a list is trusted after it was last found in place; docs/decisions tells why no longer, and not 0."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class TokensError(Exception):
    """A list of tokens that cannot be used; the message holds nothing of its content."""


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """One line of a list.

    Attributes:
        name: who bears it; the log has it with each call.
        digest: SHA-256 of the token, so that nothing can print it.
        expires_s: seconds of the wall clock from which on it is refused; None: never.
    """

    name: str
    digest: bytes
    expires_s: float | None = None


def parse_tokens(content: bytes) -> tuple[Token, ...]:
    """The tokens of a list: `NAME TOKEN [EXPIRES]` a line, and empty lines and those that begin with # between them.

    A name may stand on several lines, so that its token can be changed without a gap; a token only on one.

    Raises:
        TokensError: a line is none, or there are no tokens or too many.
    """
    tokens: list[Token] = []
    for number, line in enumerate(content.decode("ascii", "replace").splitlines(), start=1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        tokens.append(_token(words, number))
        if any(token.digest == tokens[-1].digest for token in tokens[:-1]):
            raise TokensError(f"line {number} has the token of an earlier line; give each caller its own")
        if len(tokens) > MOST_TOKENS:
            raise TokensError(f"it has more than {MOST_TOKENS} tokens")
    if not tokens:
        raise TokensError("it has no token; write one NAME TOKEN a line")
    return tuple(tokens)


def bearer_token(authorization: Collection[str]) -> str | None:
    """The token of a call's `Authorization` values; None: there is none, or more than one value."""
    if len(authorization) != 1:
        return None
    scheme, _, token = next(iter(authorization)).partition(" ")
    return token.strip(" ") or None if scheme.lower() == "bearer" else None


def digest_of(token: str) -> bytes:
    """What is kept of a token, and compared."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class Tokens:
    """The tokens that are accepted now. A change of the list is one assignment; any thread may make it.

    Args:
        clock: monotonic seconds.
        wall_clock: seconds since 1970, which expiries are held against.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._tokens: Sequence[Token] = ()
        self._found_s = -math.inf

    def replace(self, tokens: Sequence[Token]) -> None:
        """Accept these, and no others, from now on."""
        self._tokens = tokens
        self.confirm()

    def confirm(self) -> None:
        """The list was found in place again, as it is."""
        self._found_s = self._clock()

    @property
    def trusted(self) -> bool:
        """Whether the list was found not too long ago."""
        return self._clock() - self._found_s <= TRUSTED_S

    def expiries(self) -> dict[tuple[str], float]:
        """When each caller's last token ends, in seconds since 1970, by name; without those of which one never ends."""
        ends: dict[str, float] = {}
        for token in self._tokens:
            end = math.inf if token.expires_s is None else token.expires_s
            ends[token.name] = max(end, ends.get(token.name, end))
        return {(name,): end for name, end in ends.items() if end < math.inf}

    def admit(self, authorization: Collection[str]) -> None:
        """Let a call in, and name its caller for all that this task does from here on.

        Args:
            authorization: the values of the call's `Authorization` header, or of its metadata of that name.

        Raises:
            ServiceError: `unauthenticated`.
        """
        CALLER.set("")  # a pipelined call begins in the context of the one before
        CALLER.set(self._name_of(bearer_token(authorization)))

    def _name_of(self, given: str | None) -> str:
        if given is None:
            raise ServiceError(ErrorKind.UNAUTHENTICATED, "this call needs a token: Authorization: Bearer …")
        digest = digest_of(given)
        # All of them are compared, whichever it is.
        found = [token for token in self._tokens if hmac.compare_digest(token.digest, digest)]
        if not found or not self.trusted:
            raise ServiceError(ErrorKind.UNAUTHENTICATED, "the token is not known here")
        if found[0].expires_s is not None and found[0].expires_s <= self._wall_clock():
            raise ServiceError(ErrorKind.UNAUTHENTICATED, "the token has expired")
        return found[0].name


def _token(words: list[str], number: int) -> Token:
    if len(words) not in (2, 3):
        raise TokensError(f"line {number} is not NAME TOKEN, or NAME TOKEN EXPIRES")
    name, token, *expires = words
    if not _NAME.fullmatch(name):
        raise TokensError(f"line {number} has a name that is not of 1 to 64 letters, digits and ._@-")
    if not TOKEN.fullmatch(token):
        raise TokensError(f"line {number} has a token that is not of {MIN_TOKEN_CHARACTERS} or more plain characters")
    return Token(name, digest_of(token), _seconds(expires[0], number) if expires else None)


def _seconds(text: str, number: int) -> float:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise TokensError(f"line {number} expires at no time like 2027-01-31 or 2027-01-31T12:00:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
