"""The records of a training that goes on: on disk after each epoch, for other programs to read."""

import json
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress, StageProgress
from robust_tickets.comparison.compare import search, train_from
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.stages.experiment import Experiment


@pytest.fixture
def machine():
    return Machine("cpu", SilentProgress(), tensorboard=True)


def scalars(folder: ArmDirectory) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder.tensorboard))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_gets_the_numbers_of_each_epoch(tiny_recipe, tmp_path, machine):
    folder = ArmDirectory(train_from(Experiment(tiny_recipe, machine=machine), 0, tmp_path, None))
    records = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    curves = scalars(folder)
    assert {"train_loss", "val_clean", "val_robust", "lr", "flops"} <= curves.keys()
    for name in ("val_robust", "train_loss", "lr"):
        assert [step for step, _ in curves[name]] == [record["epoch"] for record in records]
        assert [value for _, value in curves[name]] == pytest.approx([r[name] for r in records], rel=1e-6)


def test_a_search_has_the_epochs_of_all_its_rounds(tiny_recipe, tmp_path, machine):
    ticket = search(Experiment(tiny_recipe, machine=machine), 0, tmp_path)
    folder = ArmDirectory(ticket.parent)
    records = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [(r["round"], r["epoch"]) for r in records] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    curve = scalars(folder)["val_robust"]
    assert [step for step, _ in curve] == [1, 2, 3, 4]
    assert [value for _, value in curve] == pytest.approx([r["val_robust"] for r in records], rel=1e-6)


def test_records_are_there_while_the_training_goes_on(tiny_recipe, tmp_path, monkeypatch):
    lengths = []

    def look(self, text):
        files = list(tmp_path.rglob("metrics.jsonl"))
        lengths.append(sum(len(file.read_text().splitlines()) for file in files))

    monkeypatch.setattr(StageProgress, "note", look)
    train_from(Experiment(tiny_recipe), 0, tmp_path, None)
    assert lengths == [0, 1, 2]  # of three epochs, each told before it is written


def test_without_the_extra_it_is_refused_before_anything_is_trained(
    tiny_recipe, tmp_path, machine, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"--tensorboard needs the package tensorboard: pip install"):
        train_from(Experiment(tiny_recipe, machine=machine), 0, tmp_path, None)
    assert not list(tmp_path.rglob("metrics.jsonl"))
