"""The length of a training as what it may cost, recorded as the user writes it."""

import re
from dataclasses import dataclass
from typing import Literal

from robust_tickets.base.errors import InputError

Unit = Literal["seconds", "passes", "flops"]

_UNITS: dict[str, tuple[Unit, int]] = {
    "s": ("seconds", 1),
    "min": ("seconds", 60),
    "h": ("seconds", 3600),
    "passes": ("passes", 1),
    "flops": ("flops", 1),
}
_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)([a-z]+)")
_LARGEST = 1e24


@dataclass(frozen=True)
class Budget:
    """What a training may cost: an amount above 0 and at most 1e24, with its unit.

    Raises InputError for any other text.
    """

    text: str
    """as written, such as "30min"; files show it"""

    def __post_init__(self) -> None:
        if self._parts is None:
            examples = "30min, 90s, 2h, 2e6passes or 1.5e15flops"
            raise InputError(f"{self.text!r:.80} is no budget: write an amount and its unit, as {examples}")
        if not 0 < self.amount <= _LARGEST:
            raise InputError(
                f"a budget of {self.text} is out of range: give an amount above 0 and up to {_LARGEST:g}"
            )

    @property
    def amount(self) -> float:
        """The amount, in the unit."""
        assert self._parts is not None
        return float(self._parts[0]) * _UNITS[self._parts[1]][1]

    @property
    def unit(self) -> Unit:
        """What the amount is of: seconds, passes of single samples through the network, or FLOPs."""
        assert self._parts is not None
        return _UNITS[self._parts[1]][0]

    @property
    def _parts(self) -> tuple[str, str] | None:
        """The number and the unit as written; None where the text is no budget."""
        match = _FORM.fullmatch(self.text.replace(" ", "").lower())
        return (match[1], match[2]) if match and match[2] in _UNITS else None

    def __str__(self) -> str:
        return self.text
