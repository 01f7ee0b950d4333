"""Which of the versions on disk are served: a rule for each model, from one line of text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Literal, Self, TypeAlias

Rule: TypeAlias = Literal["all", "latest"] | tuple[str, ...]
"""All versions, the highest, or those listed (ascending, whether they are there or not)."""

OTHERS = "*"
"""The name that stands for every model without a rule of its own."""

SPELLING = "all, latest, or rules like 'pbmc=1,2;other=latest;*=all'"

_ENTRY = re.compile(r"(\*|[^\s=;,*]+)=(all|latest|[1-9][0-9]{0,17}(?:,[1-9][0-9]{0,17})*)", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class ServedVersions:
    """The rule of each model; one that no rule names is not served.

    Attributes:
        rules: by model name, or `OTHERS`.
    """

    rules: Mapping[str, Rule]

    @classmethod
    def read(cls, text: str) -> Self:
        """Read `all`, `latest` (short for `*=all`, `*=latest`) or `NAME=VERSIONS;…`.

        Raises:
            ValueError: with how it is spelt.
        """
        rules: dict[str, Rule] = {}
        for entry in [f"{OTHERS}={text}"] if text in ("all", "latest") else text.split(";"):
            match = _ENTRY.fullmatch(entry.strip())
            if match is None or match[1] in rules:
                raise ValueError(SPELLING)
            rules[match[1]] = _rule(match[2])
        return cls(MappingProxyType(rules))

    @property
    def named(self) -> list[str]:
        """The models that have a rule of their own and so must be there."""
        return [name for name in self.rules if name != OTHERS]

    def of(self, name: str, there: Collection[str]) -> list[str]:
        """The versions of a model to serve, ascending; of a list also those that are not there.

        Args:
            name: the model.
            there: its versions on disk.
        """
        rule = self.rules.get(name) or self.rules.get(OTHERS, ())
        if isinstance(rule, tuple):
            return list(rule)
        versions = sorted(there, key=int)
        return versions if rule == "all" else versions[-1:]


def _rule(text: str) -> Rule:
    if text == "all":
        return "all"
    return "latest" if text == "latest" else tuple(sorted(set(text.split(",")), key=int))


ALL_VERSIONS = ServedVersions(MappingProxyType({OTHERS: "all"}))
