"""When a certificate ends: `ssl` tells it of a peer's certificate, but not of one's own."""

from __future__ import annotations

import datetime
import ssl
from typing import Final

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_END: Final = "-----END CERTIFICATE-----"


def expires_s(chain: bytes) -> float:
    """The end of the first certificate of a PEM chain, in seconds since 1970.

    It must have been taken by `ssl` before, so that only its structure is read (RFC 5280, 4.1) and nothing is checked.

    Raises:
        ValueError: there is none, or it is none.
    """
    text = chain.decode("ascii", "replace")
    start, end = text.find("-----BEGIN CERTIFICATE-----"), text.find(_END)
    if start < 0 or end < start:
        raise ValueError("there is no certificate in it")
    certificate = ssl.PEM_cert_to_DER_cert(text[start : end + len(_END)])
    _, fields, _ = _element(_element(certificate, _SEQUENCE)[1], _SEQUENCE)
    tag, _, rest = _element(fields)
    if tag == _VERSION:  # version 1 leaves its number out
        rest = _element(rest)[2]
    # Behind the serial number: signature, issuer, validity.
    for _ in range(2):
        rest = _element(rest, _SEQUENCE)[2]
    _, _, after_start = _element(_element(rest, _SEQUENCE)[1])
    tag, end_text, _ = _element(after_start)
    return _moment(end_text.decode("ascii"), two_digit_year=tag == _UTC_TIME)


def _element(content: bytes, wanted: int | None = None) -> tuple[int, bytes, bytes]:
    """The tag and the content of the first element, and what is behind it (X.690, 8.1)."""
    if len(content) < 2 or (wanted is not None and content[0] != wanted):
        raise ValueError("it is no certificate")
    start, length = 2, content[1]
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(content[2:start], "big")
    return content[0], content[start : start + length], content[start + length :]


def _moment(text: str, *, two_digit_year: bool) -> float:
    if two_digit_year:
        text = ("19" if text[0] >= "5" else "20") + text
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC).timestamp()
