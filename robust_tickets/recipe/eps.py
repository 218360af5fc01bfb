"""The size of a perturbation, kept as it was written."""

from dataclasses import dataclass
from fractions import Fraction

from robust_tickets.base.errors import InputError


@dataclass(frozen=True)
class Eps:
    """A perturbation size in pixel units of [0, 1], above 0 and at most 100.

    `text` is what the user wrote, "8/255" or "0.5", and is what files and tables show: 8/255 rounded to 0.031
    is another threat model. Raises InputError for anything else; that an Linf radius is at most 1, the recipe
    checks.
    """

    text: str

    def __post_init__(self) -> None:
        """Check that the text is a number in range."""
        try:
            exact = Fraction(self.text.replace(" ", ""))
        except (ValueError, ZeroDivisionError):
            raise InputError(f"eps {self.text!r} is no number: write it as 8/255 or 0.03") from None
        if not (0 < exact <= _LARGEST and float(exact) > 0):
            raise InputError(
                f"eps {self.text} is out of range: images lie in [0, 1], so use 0 < eps <= 1, as 8/255 "
                f"(L2: up to {_LARGEST})"
            )

    @property
    def value(self) -> float:
        """The size as a float."""
        return float(Fraction(self.text.replace(" ", "")))

    def __str__(self) -> str:
        """The text as written."""
        return self.text


_LARGEST = 100
