"""Texts for LaTeX."""

import re

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "§": r"\S{}",
    "¶": r"\P{}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
}


def escape(text: str) -> str:
    """Escape LaTeX's special characters; a number with a sign is set in math mode."""
    plain = "".join(_SPECIAL.get(character, character) for character in text)
    return re.sub(r"^([+-]\d[\d.,]*)", r"$\1$", plain)
