"""A search that counts its trainings, and progress that remembers its lines."""

import pytest

from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training import loop


class Spoken(SilentProgress):
    """Progress that remembers its lines."""

    def __init__(self):
        self.lines = []

    def log(self, line):
        self.lines.append(line)


@pytest.fixture
def spoken():
    return Spoken()


@pytest.fixture
def fits(monkeypatch):
    """A list that grows by one with every training of a search; training number `stop` is interrupted."""
    fit = loop.fit

    class Fits(list):
        stop = None

    trainings = Fits()

    def counted(*args, **kwargs):
        if len(trainings) == trainings.stop:
            raise KeyboardInterrupt
        trainings.append(1)
        return fit(*args, **kwargs)

    monkeypatch.setattr(loop, "fit", counted)
    return trainings


@pytest.fixture
def search(fits, spoken):
    """Search by a recipe, perhaps with another network or images; gives folder and rounds trained."""

    def run(recipe, runs, seed=0, **own):
        before = len(fits)
        machine = Machine("cpu", spoken)
        path = search_stage.search(Experiment(recipe, **own), seed, RunDirectory.of(runs, recipe), machine)
        return path.parent, len(fits) - before

    return run
