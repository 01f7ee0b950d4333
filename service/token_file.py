"""The file of the callers' tokens, followed while the service runs."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from service.core.tokens import TRUSTED_S, Tokens, TokensError, parse_tokens

MAX_BYTES = 1 << 20

log = logging.getLogger(__name__)


class TokenFile:
    """Keeps `tokens` what the file says. A file that cannot be used changes nothing, until `tokens` trust it no more.

    It is read, not looked at: a secret that Kubernetes swaps, or an editor that restores times, changes no time or size
    that could be relied on.

    Raises:
        TokensError: it cannot be used at the start.
    """

    def __init__(self, path: Path, tokens: Tokens) -> None:
        self._path = path
        self._tokens = tokens
        self._digest = b""
        self._trouble = ""
        self._read()

    def refresh(self) -> None:
        """Read the file once more; what is wrong with it is logged when it begins, and when it has lasted too long."""
        try:
            self._read()
            trouble = ""
        except TokensError as error:
            then = f"its last tokens hold for {TRUSTED_S:g} s" if self._tokens.trusted else "every call is refused"
            trouble = f"the tokens file cannot be used: {error}; {then}"
        if trouble != self._trouble:
            log.log(logging.ERROR if trouble else logging.INFO, "%s", trouble or "the tokens file can be used again")
            self._trouble = trouble

    def _read(self) -> None:
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise TokensError(f"it cannot be read ({error.strerror})") from None
        if len(content) > MAX_BYTES:
            raise TokensError(f"it is over {MAX_BYTES} bytes")
        digest = hashlib.sha256(content).digest()
        if digest == self._digest:
            self._tokens.confirm()
            return
        tokens = parse_tokens(content)
        self._tokens.replace(tokens)
        self._digest = digest
        log.info("tokens: %d, of %d callers", len(tokens), len({token.name for token in tokens}))
