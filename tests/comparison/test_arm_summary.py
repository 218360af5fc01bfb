"""What lines of progress say of arms, and how long they are taken to be."""

from dataclasses import replace

import pandas as pd
import pytest

from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import Progress, Tasks
from robust_tickets.comparison.arm_summary import arm_summary, arm_weight, search_summary
from robust_tickets.comparison.executors.base import Task
from robust_tickets.comparison.executors.choose import choose_executor
from robust_tickets.evaluation.robustness_csv import COLUMNS
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages.experiment import Experiment


def write_rows(folder, *rows):
    """Rows of checkpoint, attack, accuracy and network that was attacked."""
    about = {"split": "test", "eps": "0.1", "norm": "Linf", "seed": 0, "n": 50}
    names = ("checkpoint", "attack", "accuracy", "source")
    table = pd.DataFrame([about | dict(zip(names, row, strict=True)) for row in rows]).reindex(
        columns=COLUMNS
    )
    numbers = ["seconds", "forwards", "backwards", "rel_step", "clean", "low", "high", "outside"]
    table.fillna(dict.fromkeys(numbers, 1)).to_csv(folder.robustness, index=False)


def test_an_arm_is_summed_up_by_the_last_epoch_on_test_images(tiny_recipe, tmp_path):
    """At the recipe's eps: an evaluation at another one, added later, is none of the table's."""
    recipe = replace(tiny_recipe, evaluate=replace(tiny_recipe.evaluate, images=50, aa_images=50))
    run = RunDirectory.of(tmp_path, recipe)
    folder = run.arm(0, "dense")
    folder.path.mkdir(parents=True)
    rows = [("best", "clean", 0.9, ""), ("last", "clean", 0.5, ""), ("last", "pgd-20", 0.25, "")]
    rows.append(("last", "pgd-20", 0.99, "other"))
    write_rows(folder, *rows)
    assert arm_summary(run, 0, "dense") == "clean 50.0%  PGD-20 25.0%"
    write_rows(folder, *rows, ("last", "aa-apgd", 0.21, ""))
    assert arm_summary(run, 0, "dense") == "clean 50.0%  PGD-20 25.0%  AA 21.0%"
    table = pd.read_csv(folder.robustness, keep_default_na=False)
    pd.concat([table, table.assign(eps="0.2", accuracy=0.01)]).to_csv(folder.robustness, index=False)
    assert arm_summary(run, 0, "dense") == "clean 50.0%  PGD-20 25.0%  AA 21.0%"


def test_a_search_is_summed_up_by_its_last_validation(tmp_path):
    folder = ArmDirectory(tmp_path)
    folder.metrics.write_text("")
    assert search_summary(folder) == ""
    folder.metrics.write_text('{"val_clean": 0.1, "val_robust": 0}\n{"val_clean": 0.5, "val_robust": 0.25}\n')
    assert search_summary(folder) == "validation: clean 50.0%  robust 25.0%"


def test_arms_weigh_what_their_trainings_cost(tiny_recipe):
    train = replace(tiny_recipe.train, epochs=4, ticket_epochs=1)
    experiment = Experiment(replace(tiny_recipe, train=train))
    dense = arm_weight(experiment, "dense")
    assert dense == pytest.approx(4 * arm_weight(experiment, "dense-short"))
    assert arm_weight(experiment, "dense-equal-seconds") == dense


class _Seen(Progress):
    def __init__(self):
        self.events = []

    def tasks(self, weights):
        self.events.append(list(weights))
        return _SeenTasks(self.events)


class _SeenTasks(Tasks):
    def __init__(self, events):
        super().__init__()
        self.events = events

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def begin(self, number, name):
        self.events.append(("begin", number, name))

    def end(self, number, summary):
        self.events.append(("end", number, summary))


def nothing(machine):
    return None


@pytest.mark.parametrize("jobs", [1, 2])
def test_tasks_are_told_of_as_they_begin_and_end(jobs):
    progress = _Seen()
    tasks = [
        Task("a", nothing, weight=2.0, summary=lambda: "A"),
        Task("b", nothing, after=(0,), summary=lambda: "B"),
    ]
    choose_executor(jobs).run(tasks, Machine("cpu", progress), 1)
    assert progress.events == [
        [2.0, 1.0],
        ("begin", 0, "a"),
        ("end", 0, "A"),
        ("begin", 1, "b"),
        ("end", 1, "B"),
    ]
    choose_executor(jobs).run([], Machine("cpu", progress), 1)
    assert len(progress.events) == 5


def test_no_process_is_started_for_what_is_done():
    """A child would have nothing of what is appended here; tasks after it wait for it none the less."""
    done = []
    tasks = [Task(name, lambda machine, name=name: done.append(name), is_done=lambda: True) for name in "ab"]
    tasks.append(Task("c", nothing, after=(0, 1)))
    progress = _Seen()
    choose_executor(2).run(tasks, Machine("cpu", progress), 1)
    assert done == ["a", "b"]
    assert [event[:2] for event in progress.events[1:]] == [
        (word, number) for number in range(3) for word in ("begin", "end")
    ]
