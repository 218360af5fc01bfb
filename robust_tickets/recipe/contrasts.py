"""Contrasts that a recipe names beforehand: `A minus B`, or `A not worse than B`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from robust_tickets.base.errors import InputError

Question = Literal["different", "not worse"]
"""different: the mean difference is not zero; not worse: it is above minus one point (non-inferiority)."""

NONE = "none"
"""Stands for no contrast, where a recipe's are to be left out."""

_WORDS: dict[str, Question] = {" minus ": "different", " not worse than ": "not worse"}


@dataclass(frozen=True)
class WantedContrast:
    """Two arms, and what is asked of the first one's accuracy minus the second one's."""

    first: str
    second: str
    question: Question

    @classmethod
    def parse(cls, text: str) -> "WantedContrast":
        """Read `ARM minus ARM` or `ARM not worse than ARM`. Raises InputError for anything else."""
        for words, question in _WORDS.items():
            first, found, second = (part.strip() for part in f" {text} ".partition(words))
            if found and first and second and not {" ", ","} & set(first + second):
                return cls(first, second, question)
        raise InputError(
            f"compare.contrasts {text!r:.80} is no contrast: write each, in quotes of its own, as "
            "'ticket minus dense-short' or 'ticket not worse than dense'"
        )

    @property
    def label(self) -> str:
        """The difference, with the arms as code."""
        return f"`{self.first}` minus `{self.second}`"


def parsed(texts: Sequence[str], arms: Sequence[str]) -> list[WantedContrast]:
    """The contrasts of a recipe with these arms; none where the one text is `none`.

    Raises InputError for a text that is none, for an arm that the recipe lacks, and for what is asked twice.
    """
    contrasts: list[WantedContrast] = []
    for text in texts if tuple(texts) != (NONE,) else ():
        contrast = WantedContrast.parse(text)
        for arm in (contrast.first, contrast.second):
            if arm not in arms:
                raise InputError(
                    f"compare.contrasts {text!r}: compare.arms lacks {arm}, it has {' '.join(arms)}: add it, "
                    f"or give other contrasts ({NONE}: none)"
                )
        if contrast.first == contrast.second:
            raise InputError(f"compare.contrasts {text!r} is of one arm: name two")
        if any(
            contrast.question == other.question
            and {contrast.first, contrast.second} == {other.first, other.second}
            and (contrast.question == "different" or contrast == other)
            for other in contrasts
        ):
            raise InputError(
                f"compare.contrasts {text!r} asks what another one asks, and each makes all of them "
                "harder to show: leave it out"
            )
        contrasts.append(contrast)
    return contrasts
