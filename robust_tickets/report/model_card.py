"""The text of a model card: a file's facts in Markdown, with the header that the Hugging Face Hub reads."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from robust_tickets.base.errors import InputError

TAGS = ("robust-tickets", "image-classification", "adversarial-robustness", "pruning", "lottery-ticket")

_LONGEST = 200


@dataclass(frozen=True)
class ModelCard:
    """A model card.

    title: of the whole.
    datasets: names of the data sets that are public; may be empty.
    sections: heading and Markdown text of each; the licence's is added at the end.
    licence: as its owner gave it; "": none was given.
    """

    title: str
    datasets: Sequence[str]
    sections: Sequence[tuple[str, str]]
    licence: str = ""

    def __post_init__(self) -> None:
        """Raise InputError for a licence that is no short text in one line."""
        text = self.licence
        if text and (not text.isprintable() or not text.strip() or len(text) > _LONGEST):
            raise InputError(
                f"the licence must be a short text in one line, got {text!r:.80}: name it, such as mit or "
                "cc-by-4.0, and put its text into a file of its own"
            )

    def markdown(self) -> str:
        """The card's file."""
        licence = self.licence.strip() or "None was given with this file: ask its author before you use it."
        sections = [*self.sections, ("Licence", licence)]
        parts = [self._header(), f"# {self.title}", *(f"## {head}\n\n{text}" for head, text in sections)]
        return "\n\n".join(parts) + "\n"

    def _header(self) -> str:
        fields: dict[str, object] = {"library_name": "robust-tickets", "tags": list(TAGS)}
        if self.datasets:
            fields["datasets"] = list(self.datasets)
        licence = self.licence.strip()
        if re.fullmatch(r"[A-Za-z0-9.+-]+", licence):
            fields["license"] = licence.lower()  # as the Hub spells its identifiers
        elif licence:
            name = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-")
            fields |= {"license": "other", "license_name": name or "other"}
        # JSON's values are YAML's too
        lines = [f"{name}: {json.dumps(value)}" for name, value in fields.items()]
        return "\n".join(["---", *lines, "---"])


def code(text: object) -> str:
    """A text as inline code, in one line: what a file says is shown and never formats the card."""
    return f"`{' '.join(str(text).replace('`', ' ').split())}`"


def bullets(facts: dict[str, str]) -> str:
    """Facts as a list, each with its heading."""
    return "\n".join(f"- {heading}: {text}" for heading, text in facts.items())
