"""The text on a tuning: what was chosen for each arm, how far ahead it was, and what that is worth."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

_DEVIATIONS = 2.0  # so many standard deviations are chance


def tuning_text(
    rows: pd.DataFrame,
    chosen: Mapping[str, Mapping[str, Any]],
    kind: str,
    seeds: Sequence[int],
    images: int,
    classes: int,
) -> str:
    """A line an arm on what was chosen, and lines on its trials, the best first.

    rows: the trials, as `trials.csv` has them.
    kind: which validation accuracy chose, robust or clean.
    images: of validation, in each seed.
    """
    lines = [f"by {kind} validation accuracy after the last epoch, seed {', '.join(map(str, seeds))}:"]
    for arm, values in chosen.items():
        lines.append(f"{arm}: {_words(values)}")
        own = rows[rows.arm == arm]
        lines += [f"  {line}" for line in _at_the_end(own, values)]
        scores = _means(own[own.share == own.share.max()], values, kind)
        lines += [f"  {line}" for line in _doubts(scores, images * len(seeds), classes)]
        for share in own.share.drop_duplicates():
            accuracy = _means(own[own.share == share], values, kind)
            length = "the whole schedule" if share == 1 else f"{share:.3g} of the schedule"
            trials = []
            for key, value in accuracy.items():
                own_values = key if isinstance(key, tuple) else (key,)
                trials.append(f"{_words(dict(zip(values, own_values, strict=True)))} {value:.1%}")
            lines.append(f"  {length}: {'; '.join(trials)}")
    return "\n".join(lines)


def _means(trials: pd.DataFrame, values: Iterable[str], kind: str) -> "pd.Series[float]":
    """The mean accuracy of each combination of values, the best first; one that diverged counts as 0."""
    accuracy = trials.fillna({f"val_{kind}": 0.0}).groupby(list(values), sort=False, dropna=False)
    return accuracy[f"val_{kind}"].mean().sort_values(ascending=False, kind="stable")


def _doubts(scores: "pd.Series[float]", images: int, classes: int) -> list[str]:
    """A line where no trial learned anything, or where the best ones cannot be told apart.

    scores: the mean accuracies, the best first; images: on how many each of them was measured.
    """
    best, *others = scores
    if best <= 1 / classes + _DEVIATIONS * _deviation(1 / classes, images):
        return [f"WARNING: no trial is better than chance ({1 / classes:.1%}): the choice says nothing"]
    spread = _DEVIATIONS * math.sqrt(2) * _deviation(best, images)
    near = sum(best - score <= spread for score in others)
    if not near:
        return []
    trials = "the next trial" if near == 1 else f"the next {near} trials"
    return [f"ahead of {trials} by no more than chance on {images:,} images ({100 * spread:.1f} points)"]


def _deviation(share: float, images: int) -> float:
    """The standard deviation of a share of so many images."""
    return math.sqrt(share * (1 - share) / images)


def _at_the_end(trials: pd.DataFrame, values: Mapping[str, Any]) -> list[str]:
    """A line for each chosen number that is the largest or the smallest that was tried."""
    lines = []
    for field, value in values.items():
        tried = trials[field].unique()
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        for end, words in ((max(tried), "largest"), (min(tried), "smallest")):
            if value == end:
                other = "larger" if words == "largest" else "smaller"
                lines.append(f"{field} {value} is the {words} that was tried: {other} ones may be better")
    return lines


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{field} {value}" for field, value in values.items())
