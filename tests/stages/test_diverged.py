"""A training that diverges keeps the last state that was good."""

import pytest

from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import plan as planning
from robust_tickets.stages import train
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training import monitors
from robust_tickets.training.monitors import DivergedError


@pytest.fixture
def diverging(monkeypatch):
    """Let the loss be infinite at a step."""

    def at(number):
        look = monitors.FiniteMonitor.observe
        monkeypatch.setattr(
            monitors.FiniteMonitor,
            "observe",
            lambda self, step, loss: look(self, step, loss * (1e400 if step == number else 1)),
        )

    return at


# four steps an epoch
@pytest.mark.parametrize(("step", "saved"), [(2, None), (4, 4), (6, 4), (9, 8)])
@pytest.mark.parametrize(("minutes", "every"), [(1, 0), (0, 0), (0, 3)])
def test_the_state_after_the_last_whole_epoch_is_saved(
    step, saved, minutes, every, tiny_recipe, tmp_path, diverging
):
    machine = Machine("cpu", SilentProgress(), minutes, every)
    experiment, run = Experiment(tiny_recipe, machine=machine), RunDirectory.of(tmp_path, tiny_recipe)
    plan = planning.plan(tiny_recipe, "dense", experiment.spec)
    diverging(step)
    with pytest.raises(DivergedError, match=f"diverged at step {step}"):
        train.train(experiment, 0, run, plan, None)
    states = sorted(tmp_path.rglob("step-*"))
    if (minutes, every) == (0, 0) or (saved is None and every == 0):
        assert states == []  # none is to be saved, or no epoch was over
        return
    steps = [int(file.stem.removeprefix("step-")) for file in states]
    assert all(number <= step for number in steps)
    assert saved is None or saved in steps
    if minutes:
        assert steps == [saved]
    # the same command resumes there, and diverges again
    with pytest.raises(DivergedError, match=f"diverged at step {step}"):
        train.train(experiment, 0, run, plan, None)
