"""One line of text decides which versions are served."""

import pytest

from service.core.served_versions import ALL_VERSIONS, ServedVersions

THERE = ["2", "10", "9"]


@pytest.mark.parametrize(
    ("text", "served"),
    [
        ("all", ["2", "9", "10"]),
        ("latest", ["10"]),
        ("m=latest", ["10"]),
        ("m=9,2", ["2", "9"]),
        ("m=2,2", ["2"]),
        # What is listed must be there; whether it is, the catalog finds out.
        ("m=3", ["3"]),
        ("*=latest;m=all", ["2", "9", "10"]),
        ("n=all", []),
        (" n=all ; *=latest ", ["10"]),
    ],
)
def test_rules(text: str, served: list[str]) -> None:
    assert ServedVersions.read(text).of("m", THERE) == served
    assert ServedVersions.read(text).of("m", []) == (served if "," in text or "3" in text else [])


def test_the_models_that_must_be_there() -> None:
    assert ServedVersions.read("m=1;n=latest;*=all").named == ["m", "n"]
    assert ALL_VERSIONS.named == []
    assert ServedVersions.read("all") == ALL_VERSIONS


@pytest.mark.parametrize(
    "text", ["", ";", "m", "m=", "=1", "m=01", "m=1;", "m=1;m=2", "m=1,latest", "m=-1", "*m=1", "٣=٣"]
)
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="all, latest, or rules like"):
        ServedVersions.read(text)
