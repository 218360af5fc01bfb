"""Which networks go through which command, and what is said of the others: docs/networks.md.

    python -m benchmarks.zoo --out runs/bench/zoo

Each network of `benchmarks.zoo_networks` goes through a search of single weights and one of channels, a
training from each ticket, an evaluation and an export. Images are noise: what counts
is whether a step works, or is refused in words. Anything but an InputError is a fault, and shown as one.
Writes outcomes.jsonl as it goes (a stopped run resumes) and networks.md, which is copied to docs/.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import robust_tickets as rt
from benchmarks.measuring import Records
from benchmarks.zoo_networks import CLASSES, NETWORKS
from robust_tickets.base.errors import InputError
from robust_tickets.models.weights import copy_state
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs.files import write_text
from robust_tickets.stages.specs import model_spec
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.export import export

STAGES = ("search: weights", "training", "search: channels", "training of channels", "evaluation", "export")
FIELDS: dict[str, Any] = {
    "search": {"epochs": 1, "batch": 16, "ratio": 0.5, "lr": 0.01, "method": "fgsm"},
    "train": {"epochs": 1, "ticket_epochs": 1, "batch": 16, "lr": 0.01, "method": "fgsm"},
    "evaluate": {"val_steps": 1, "batch": 20, "early_epochs": 0},
    "compute": {"threads": 1},
}

INTRODUCTION = """# Networks

Which networks go through which stage. torchvision's networks are narrow where they can be, the others are
one for each mechanism (`benchmarks/zoo_networks.py`). Each is searched, trained from its ticket, evaluated
and exported with a few images of noise, one epoch and FGSM: the table says what works, not how well.
`python -m benchmarks.zoo` makes it anew; slow tests assert each outcome. "refused": an error in words, given
below.
"""


@dataclass(frozen=True)
class Settings:
    """The networks to try."""

    out: Path = Path("runs/bench/zoo")
    """folder of the outcomes and the table"""
    networks: tuple[str, ...] = tuple(NETWORKS)
    """their names"""


def main(settings: Settings) -> None:
    """Try the networks that have no outcome yet, and write the table."""
    rt.show_progress(False)
    records = Records(settings.out / "outcomes.jsonl")
    for name in settings.networks:
        if not records.has(network=name):
            outcome = outcomes(NETWORKS[name])
            records.add({"network": name, "outcomes": outcome})
            print(name, outcome, flush=True)
    write_text(settings.out / "networks.md", table(records.all()))
    print(settings.out / "networks.md")


def outcomes(build: Callable[[], torch.nn.Module]) -> dict[str, str]:
    """What comes of each stage: "yes", the message of a refusal, or the error that should not be.

    build: gives a fresh network.
    """
    data = noise()
    results: dict[str, str] = {}
    net = None
    for search, training, granularity in ((*STAGES[:2], "weight"), (*STAGES[2:4], "channel")):
        fields = FIELDS | {"search": FIELDS["search"] | {"granularity": granularity}}
        ticket = attempt(results, search, lambda fields=fields: rt.find_ticket(build, data, **fields))
        if ticket is not None:
            trained = attempt(results, training, lambda t=ticket, f=fields: rt.train(build, data, t, **f))
            net = net or (trained and trained.net)
    net = build() if net is None else net
    attempt(results, "evaluation", lambda: rt.evaluate(net, data, attacks=("clean", "pgd-2"), **FIELDS))
    attempt(results, "export", lambda: export_net(build, data))
    return results


def attempt(results: dict[str, str], stage: str, work: Callable[[], Any]) -> Any:
    """What the work gives, None where it fails; the outcome goes into `results`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = work()
    except InputError as error:
        results[stage] = str(error)
        return None
    except Exception as error:
        results[stage] = f"FAULT: {type(error).__name__}: {error}"
        return None
    results[stage] = "yes"
    return value


def noise() -> Any:
    """Images without any meaning, in balanced classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(60, 3, 32, 32, generator=generator)
    labels = torch.arange(60) % CLASSES
    return rt.images(train=(images[:52], labels[:52]), test=(images[52:], labels[52:]), val_images=20)


def export_net(build: Callable[[], torch.nn.Module], data: Any) -> None:
    """Export an untrained network as a program of torch."""
    recipe = recipes.from_table({"model": {"name": "zoo:net"}, "data": {"name": "own"}})
    spec = model_spec(recipe, data.spec)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.safetensors"
        state = copy_state(build())
        Checkpoint(state, spec, recipes.to_table(Recipe()), "0" * 16, "dense", 0, 1, 0.5, 0.5).save(file)
        export(file, "torch", make=build)


def table(rows: list[dict[str, Any]]) -> str:
    """A line a network, and what is said of those that a stage refuses."""
    lines = [INTRODUCTION, f"| network | {' | '.join(STAGES)} |", f"| --- |{' --- |' * len(STAGES)}"]
    lines += [
        f"| {row['network']} | {' | '.join(_cell(row['outcomes'].get(stage, '')) for stage in STAGES)} |"
        for row in rows
    ]
    missing = [name for name in NETWORKS if name not in {row["network"] for row in rows}]
    if missing:
        lines += ["", f"Not tried for this table: {', '.join(missing)}."]
    return "\n".join([*lines, "", "What is said of the others, by its first line:", "", *_messages(rows), ""])


def _cell(outcome: str) -> str:
    if outcome in ("", "yes"):
        return outcome
    return "fault" if outcome.startswith("FAULT") else "refused"


def _messages(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        for stage, outcome in row["outcomes"].items():
            if outcome != "yes":
                yield f"- {row['network']}, {stage}: {outcome.splitlines()[0]}"


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
