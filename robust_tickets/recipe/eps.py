"""The size of a perturbation, recorded as the user writes it."""

from dataclasses import dataclass
from fractions import Fraction

from robust_tickets.base.errors import InputError


@dataclass(frozen=True)
class Eps:
    """The size of a perturbation, for pixels in [0, 1]: above 0 and at most 100 (Linf: 1, as recipes check).

    Raises InputError for any other text.
    """

    text: str
    """as written, such as "8/255" or "0.5"; files and tables show it, as 0.031 is not 8/255"""

    def __post_init__(self) -> None:
        try:
            exact = Fraction(self.text.replace(" ", ""))
        except (ValueError, ZeroDivisionError):
            raise InputError(f"eps {self.text!r} is no number: write it as 8/255 or 0.03") from None
        if not (0 < exact <= _LARGEST and float(exact) > 0):
            raise InputError(
                f"eps {self.text} is out of range: pixels are in [0, 1], so use 0 < eps <= 1, as 8/255 "
                f"(L2: up to {_LARGEST})"
            )

    @property
    def value(self) -> float:
        """The size as a float."""
        return float(Fraction(self.text.replace(" ", "")))

    def __str__(self) -> str:
        return self.text


def check_radius(name: str, eps: Eps, norm: str) -> None:
    """Raise InputError for a radius that is too large for its norm; name: of its field."""
    if norm == "Linf" and eps.value > 1:
        raise InputError(
            f"{name} {eps} is out of range: images are in [0, 1], so use 0 < eps <= 1 with norm "
            "Linf, as 8/255"
        )


_LARGEST = 100
