"""A command whose tasks run elsewhere: what its own machine has to do with them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from quick_comparison import quick_comparisons

from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.comparison.compare import compare
from robust_tickets.comparison.executors.base import Task
from robust_tickets.comparison.executors.inline import Inline
from robust_tickets.recipe import recipe as recipes
from robust_tickets.stages.experiment import Experiment

FIELDS = {
    "model": {"name": "lenet-300-100", "width": 0.1},
    "data": {"train_images": 64, "val_images": 20},
    "search": {"epochs": 1, "rounds": 1},
    "train": {"epochs": 1, "ticket_epochs": 1},
    "evaluate": {"images": 20, "val_steps": 1},
    "compute": {"threads": 1},
    "compare": {"arms": ["dense"]},
}


class Elsewhere(Inline):
    """Stands for a cluster with the device that the client lacks; it does the tasks on the CPU."""

    jobs, is_here = 2, False

    def __init__(self) -> None:
        self.names: list[str] = []
        self.devices: set[str] = set()

    def run(self, tasks: Sequence[Task], machine: Machine, threads: int) -> None:
        self.names += [task.name for task in tasks]
        self.devices.add(machine.device)
        super().run(tasks, replace(machine, device="cpu", devices=()), threads)


def test_a_client_needs_neither_the_device_of_its_tasks_nor_their_processor(tmp_path: Path) -> None:
    recipe = recipes.from_table(FIELDS, recipes.load("demo"))
    experiment = Experiment(recipe, machine=Machine("cuda:7", SilentProgress()))
    with quick_comparisons():
        first = Elsewhere()
        run = compare(experiment, [0], tmp_path, first)
        assert first.names == [f"prepare {run.path.name}", "dense, seed 0"]
        assert first.devices == {"cuda:7"}
        file = run.path / "env.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"cpu": "of another kind"}))
        again = Elsewhere()
        compare(experiment, [0], tmp_path, again)
        assert again.names == ["dense, seed 0"]
