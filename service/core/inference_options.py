"""The parameters of an Open Inference Protocol request."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

from service.core.alignment import shown_key
from service.core.errors import invalid, malformed
from service.core.priority import Priority

Parameter: TypeAlias = bool | int | float | str
"""What a parameter may be on the wire."""


class Options:
    """The parameters of a request, each of its own type: nothing is converted."""

    _KNOWN = ("n_samples", "seed", "first_cell", "min_gene_coverage", "allow_non_integer", "timeout", "priority")

    def __init__(self, given: Mapping[str, Parameter]) -> None:
        for name in given:
            if name not in self._KNOWN:
                known = ", ".join(self._KNOWN)
                invalid(f"there is no parameter {shown_key(name)}; there are {known}", field="parameters")
        self._given = given

    def integer(self, name: str, default: Any) -> Any:
        """A whole number, or the default where it is not given."""
        value = self._given.get(name, default)
        return value if value is default else self._of_type(name, value, (int,), "a whole number")

    def real(self, name: str, default: float) -> float:
        """A number."""
        return float(self._of_type(name, self._given.get(name, default), (int, float), "a number"))

    def boolean(self, name: str, default: bool) -> bool:
        """True or false."""
        return bool(self._of_type(name, self._given.get(name, default), (bool,), "true or false"))

    def timeout_s(self) -> float | None:
        """Microseconds on the wire; 0 stands for none, as in Triton."""
        microseconds = self._at_least_zero("timeout")
        return microseconds / 1e6 if microseconds else None

    def priority(self) -> Priority | None:
        """As in Triton 1 is the highest level, and 0 leaves it to the default; all lower levels are bulk."""
        level = self._at_least_zero("priority")
        return None if level == 0 else Priority.INTERACTIVE if level == 1 else Priority.BULK

    def _at_least_zero(self, name: str) -> int:
        value: int = self.integer(name, 0)
        if not 0 <= value < 1 << 64:
            invalid(f"{name} is not in 0 to 2^64 - 1", field=f"parameters.{name}")
        return value

    def _of_type(self, name: str, value: Any, types: Collection[type], words: str) -> Any:
        # Exact types: true is no number, and a text of digits is none either.
        if type(value) not in types:
            malformed(f"the parameter {name} must be {words}", field=f"parameters.{name}")
        return value
