"""What callers may bear where one token is accepted, on either transport."""

from __future__ import annotations

from service.core.tokens import Tokens, parse_tokens

GOOD = "Good-0123456789abcdef"
EXPIRED = "Expired-0123456789abc"

REFUSED = {
    "missing": None,
    "empty": "",
    "wrong": "Bearer Wrong-0123456789abcde",
    "other case": f"Bearer {GOOD.swapcase()}",
    "shortened": f"Bearer {GOOD[:-1]}",
    "lengthened": f"Bearer {GOOD}x",
    "expired": f"Bearer {EXPIRED}",
    "no scheme": GOOD,
    "another scheme": f"Basic {GOOD}",
    "the name": "Bearer alice",
}
"""`Authorization` values that let nobody in; None: none is sent."""


def accepted_tokens() -> Tokens:
    """One token of alice's, and one that has expired."""
    tokens = Tokens()
    tokens.replace(parse_tokens(f"alice {GOOD}\nbob {EXPIRED} 2001-01-01\n".encode()))
    return tokens
