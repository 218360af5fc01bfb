"""What a training from Python gives back."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import nn


@dataclass(frozen=True, repr=False)
class Trained:
    """A trained network.

    net: with the weights of the epoch that validation chose, or their average, in eval mode.
    best_epoch: that epoch, counted from 1.
    history: a row an epoch; accuracies are fractions.
    last: the state dict of the last epoch.
    ledger: seconds, passes and FLOPs by phase.
    best_is_average: whether `net` has the average of the weights (`train.average`), which was better.
    average: the state dict of the average after the last epoch; None: there is none.
    """

    net: nn.Module
    best_epoch: int
    history: pd.DataFrame
    last: dict[str, Any]
    ledger: dict[str, Any]
    best_is_average: bool = False
    average: dict[str, Any] | None = None

    def __repr__(self) -> str:
        best, average = self.history.iloc[self.best_epoch - 1], "average_" if self.best_is_average else ""
        return (
            f"<Trained {type(self.net).__name__}: best epoch {self.best_epoch} of {len(self.history)}, "
            f"validation {best[f'val_{average}clean']:.1%} clean, {best[f'val_{average}robust']:.1%} robust>"
        )
