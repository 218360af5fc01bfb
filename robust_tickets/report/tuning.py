"""The text on a tuning: what was chosen for each arm, and by how much it was ahead."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd


def tuning_text(
    rows: pd.DataFrame, chosen: Mapping[str, Mapping[str, Any]], kind: str, seeds: Sequence[int]
) -> str:
    """A line an arm on what was chosen, and lines on its trials, the best first.

    rows: the trials, as `trials.csv` has them.
    kind: which validation accuracy chose, robust or clean.
    """
    lines = [f"by {kind} validation accuracy after the last epoch, seed {', '.join(map(str, seeds))}:"]
    for arm, values in chosen.items():
        lines.append(f"{arm}: {_words(values)}")
        own = rows[rows.arm == arm]
        lines += [f"  {line}" for line in _at_the_end(own, values)]
        for share in own.share.drop_duplicates():
            stage = own[own.share == share].fillna({f"val_{kind}": 0.0})
            accuracy = stage.groupby(list(values), sort=False, dropna=False)[f"val_{kind}"].mean()
            length = "the whole schedule" if share == 1 else f"{share:.3g} of the schedule"
            trials = []
            for key, value in accuracy.sort_values(ascending=False, kind="stable").items():
                own_values = key if isinstance(key, tuple) else (key,)
                trials.append(f"{_words(dict(zip(values, own_values, strict=True)))} {value:.1%}")
            lines.append(f"  {length}: {'; '.join(trials)}")
    return "\n".join(lines)


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
