"""Strips of adversarial images that `evaluate --save-images` wrote, inside of the page."""

import base64
from collections.abc import Sequence
from pathlib import Path

from robust_tickets.base.errors import InputError
from robust_tickets.report.page.markup import element, escape, join
from robust_tickets.report.page.table import scroll_box
from robust_tickets.runs import files

_ENDING = "-strip.png"
_PNG = b"\x89PNG\r\n\x1a\n"
_CAPTION = (
    "Above the images as they are, in the middle what the attack adds, enlarged around grey, below the "
    "images that it gives. Bold: the network is wrong."
)


def find_strips(folder: Path) -> list[Path]:
    """The strips in a folder of adversarial images, in order. Raises InputError where there are none."""
    strips = sorted(folder.rglob(f"*{_ENDING}"))
    if not strips:
        raise InputError(
            f"{folder} has no strips of adversarial images (*{_ENDING}): make them by evaluate CHECKPOINT "
            "--save-images DIR"
        )
    return strips


def strips_body(strips: Sequence[Path]) -> str:
    """A figure a strip. Raises InputError for a file that is no PNG."""
    return join(_figure(file) for file in strips)


def _figure(file: Path) -> str:
    content = files.read_bytes(file, "make it again by evaluate --save-images")
    if not content.startswith(_PNG):
        raise InputError(f"{file} is no PNG file: make it again by evaluate --save-images")
    name = file.name.removesuffix(_ENDING)
    source = f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
    words = f"Clean images, perturbations and adversarial images under {name}"
    picture = f'<img src="{source}" alt="{escape(words)}">'
    return element("figure", scroll_box(picture, words) + element("figcaption", escape(_CAPTION)))
