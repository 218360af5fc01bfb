"""Whose BatchNorm statistics serve averaged weights best: an average too, the trained network's, or new ones.

    python -m benchmarks.averages --out runs/bench/averages

One training by N-FGSM in the setting of the recipe `rivals-cpu`, on seed 100, which is in no table. After
each epoch the average's validation accuracy is measured with each of the statistics, beside the trained
weights'. Writes measurements.jsonl and averages.md.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import tyro
from torch import Tensor, nn

import robust_tickets
from benchmarks.measuring import Records, machine
from robust_tickets.attacks import PGD, ThreatModel
from robust_tickets.attacks.network import misclassified
from robust_tickets.base.ledger import Passes
from robust_tickets.data import load
from robust_tickets.data.dataset import Split
from robust_tickets.models import registry
from robust_tickets.models.weights import load_weights
from robust_tickets.recipe.fields import Data
from robust_tickets.recipe.recipe import load as load_recipe
from robust_tickets.runs.files import write_text
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training import loop
from robust_tickets.training.averaging import WeightAverage

SEED, METHOD, LR, STEPS = 100, "nfgsm", 0.1, 10
TRAINED = "the trained weights, for comparison"
WAYS = {
    TRAINED: "trained",
    "averaged as the weights are": "averaged",
    "copied from the trained network": "copied",
    "estimated anew on the last batches": "estimated",
}

State = dict[str, Tensor]


@dataclass(frozen=True)
class Settings:
    """Where the measurements go, and how long the training is."""

    out: Path = Path("runs/bench/averages")
    """folder of the measurements and the table"""
    threads: int = 1
    """CPU threads"""
    epochs: int = 8
    """of the training"""


@dataclass
class Epochs:
    """The weights after each epoch, with each of the statistics."""

    states: list[dict[str, State]] = field(default_factory=list)


class ThreeStatistics(WeightAverage):
    """The average as it is in a training, which also keeps an average of the statistics."""

    epochs: Epochs

    def __init__(self, net: nn.Module, *arguments: Any) -> None:
        super().__init__(net, *arguments)
        self._averaged = _statistics(net)

    @torch.no_grad()
    def update(self, step: int, images: Tensor) -> None:
        """Take up weights and statistics after a step."""
        super().update(step, images)
        decay = min(self._config.average, (step + 1) / (step + 10))
        for name, value in _statistics(self._trained).items():
            self._averaged[name].lerp_(value, 1 - decay)

    def settle(self, step: int) -> Passes:
        """Estimate the statistics, and keep the weights with all of them."""
        passes = super().settle(step)
        average = _copy(self.net.state_dict())
        self.epochs.states.append(
            {
                "trained": _copy(self._trained.state_dict()),
                "averaged": average | _copy(self._averaged),
                "copied": average | _statistics(self._trained),
                "estimated": average,
            }
        )
        return passes


def _statistics(net: nn.Module) -> State:
    """A copy of the running statistics of a network's BatchNorms."""
    return {
        name: value.detach().clone()
        for name, value in net.state_dict().items()
        if name.endswith(("running_mean", "running_var"))
    }


def _copy(state: State) -> State:
    return {name: value.detach().clone() for name, value in state.items()}


def main(settings: Settings) -> None:
    """Train, measure and write the table."""
    records = Records(settings.out / "measurements.jsonl")
    records.begin({"machine": machine(settings.threads), "epochs": settings.epochs})
    recipe = load_recipe("rivals-cpu")
    data = load.load(Data(recipe.data.name, val_images=recipe.data.val_images))
    epochs = Epochs()
    watched = type("Watched", (ThreeStatistics,), {"epochs": epochs})
    with mock.patch.object(loop, "WeightAverage", watched):
        robust_tickets.train(
            data=data,
            recipe="rivals-cpu",
            seed=SEED,
            train={"method": METHOD, "lr": LR, "epochs": settings.epochs},
            compute={"threads": settings.threads},
        )
    net = registry.build(Experiment(recipe).model_spec, seed=SEED).eval()
    threat = ThreatModel("Linf", 8 / 255)
    for epoch, states in enumerate(epochs.states, 1):
        for way, state in states.items():
            load_weights(net, state, way)
            records.add({"epoch": epoch, "way": way, **measure(net, data.val, threat)})
    write_text(settings.out / "averages.md", table(records.all()))


def measure(net: nn.Module, split: Split, threat: ThreatModel) -> dict[str, float]:
    """Accuracy on all images of a part: clean, and under PGD."""
    images, labels = split.images.float() / 255, split.labels
    with torch.no_grad():
        clean = 1 - float(misclassified(net(images), labels).float().mean())
    found = PGD(threat, steps=STEPS)(net, images, labels, seed=0)
    with torch.no_grad():
        robust = 1 - float(misclassified(net(found), labels).float().mean())
    return {"clean": round(clean, 3), "robust": round(robust, 3)}


def table(records: list[dict[str, Any]]) -> str:
    """A row for each of the statistics: robust accuracy after each epoch, and clean accuracy at the end."""
    about = next(record for record in records if record.get("kind") == "about")
    epochs = range(1, about["epochs"] + 1)
    lines = [
        f"| statistics | {' | '.join(f'epoch {epoch}' for epoch in epochs)} | clean, at the end |",
        f"| --- | {' | '.join('---:' for _ in epochs)} | ---: |",
    ]
    for title, way in WAYS.items():
        rows = [record for record in records if record.get("way") == way]
        robust = " | ".join(f"{row['robust']:.1%}" for row in rows)
        lines.append(f"| {title} | {robust} | {rows[-1]['clean']:.1%} |")
    text = (
        f"Accuracy of averaged weights under PGD-{STEPS} on 1,000 validation images, by whose BatchNorm "
        f"statistics they have: one training by N-FGSM, rate {LR}, seed {SEED}, else as in `rivals-cpu`."
    )
    return "\n".join(
        ["# BatchNorm statistics of averaged weights", "", text, "", *lines, "", f"{about['machine']}.", ""]
    )


if __name__ == "__main__":
    main(tyro.cli(Settings))
