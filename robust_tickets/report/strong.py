"""The text of `strong`: a table, and how to read it."""

import pandas as pd

COLUMNS = {
    "candidates": "candidates an input",
    "weights": "weights",
    "kept_ratio": "over target's",
    "random_weights": "of random",
    "weight_error": "worst weight error",
    "logit_bound": "logit bound",
    "logit_error": "logit error seen",
    "same_class": "same class",
    "clean": "clean",
    "robust": "robust",
    "transfer": "proven under the attack",
    "certified": "certified",
    "seconds": "seconds",
}
"""Columns of the table -> their headings."""

_SHARES = ("same_class", "clean", "robust", "transfer", "certified")
_ERRORS = ("weight_error", "logit_bound", "logit_error")


def strong_text(rows: pd.DataFrame, eps: str, images: int) -> str:
    """The table in Markdown and what its columns mean.

    rows: as `stages.strong.rebuilt_networks` gives them, the target first.
    eps: radius of the ball, as written; images: number of test images.
    """
    lines = [
        f"| {' | '.join(COLUMNS.values())} |",
        f"|{' --- |' * len(COLUMNS)}",
        *(f"| {' | '.join(_cells(row))} |" for row in rows.to_dict("records")),
    ]
    return "\n".join(
        [
            *lines,
            "",
            f"On {images:,} test images, Linf {eps}. Each row but the first is a random network that is "
            "pruned and not trained: every weight that is left has its random value. Its logits are within "
            "the logit bound of the target's on every image within eps of a test image. Robust is the "
            "accuracy under PGD-20 (margin loss) on the network itself and on the target, whichever breaks "
            "an image: the pruned network's ReLUs have no gradient at black pixels. Proven under the attack: "
            "the target is right by more than the bound on the images that PGD-20 finds against it, so that "
            "the pruned network is right on them. Certified: the class is proven for all images within eps "
            "(interval arithmetic).",
        ]
    )


def _cells(row: dict[str, float]) -> list[str]:
    return [_cell(name, row) for name in COLUMNS]


def _cell(name: str, row: dict[str, float]) -> str:
    value = row[name]
    if name == "candidates" and not value:
        return "the target"
    if name in _SHARES:
        return f"{value:.1%}"
    if name in _ERRORS:
        return f"{value:.1e}" if value else "0"
    if name == "kept_ratio":
        return f"{value:.1f}"
    return f"{value:.1f}" if name == "seconds" else f"{int(value):,}"
