"""The rounds of a search: how fast the network learns in each, and where it ends."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from robust_tickets.base.errors import InputError
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import ArmDirectory


def round_table(history: Sequence[dict[str, Any]], kind: str, target: float) -> pd.DataFrame:
    """A row a round: `round`, `epochs`, `first` and `last` (validation accuracy), `epochs_to` the target.

    history: records of a search's epochs, with their round.
    kind: clean or robust.
    target: the accuracy that is to be reached; `epochs_to` is NaN where it is not.
    """
    rows = []
    for number in sorted({record["round"] for record in history}):
        own = [record for record in history if record["round"] == number]
        curve = [record[f"val_{kind}"] for record in own]
        reached = [place for place, accuracy in enumerate(curve, 1) if accuracy >= target]
        rows.append(
            {
                "round": number,
                "epochs": len(curve),
                "first": curve[0],
                "last": curve[-1],
                "epochs_to": reached[0] if reached else math.nan,
            }
        )
    return pd.DataFrame(rows)


def describe_rounds(ticket: Path, kind: str, target: float | None) -> str:
    """The rounds of the search that found a ticket, as text.

    ticket: its file, beside the search's metrics.
    target: validation accuracy; None: that of the worst round's last epoch.

    Raises InputError where the search left no records of epochs.
    """
    folder = ArmDirectory(ticket.parent)
    history = files.read_jsonl(folder.metrics) if folder.metrics.is_file() else []
    if not history:
        raise InputError(f"{folder.metrics} has no epochs of a search: name a ticket.safetensors beside them")
    if target is None:
        target = float(round_table(history, kind, 0.0)["last"].min())
    table = round_table(history, kind, target)
    lines = ["round  epochs  after the first  after the last  epochs to the target"]
    for row in table.to_dict("records"):
        reached = "not reached" if math.isnan(row["epochs_to"]) else f"{row['epochs_to']:g}"
        ends = f"{row['first']:>15.1%}  {row['last']:>14.1%}"
        lines.append(f"{row['round']:>5}  {row['epochs']:>6}  {ends}  {reached:>20}")
    lines.append(f"\nvalidation accuracy, {kind}; target {target:.1%}")
    return "\n".join(lines)
