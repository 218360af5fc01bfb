"""A search that is watched: what it says, and how many rounds it trains."""

import pytest

from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import Silent
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets import search as ticket_search


class Spoken(Silent):
    """Progress that remembers what was said."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture
def spoken():
    return Spoken()


@pytest.fixture
def fits(monkeypatch):
    """A list that grows by one with every training of a search; it is stopped before number `stop`."""
    real = ticket_search.fit

    class Fits(list):
        stop = None

    done = Fits()

    def counted(*args, **kwargs):
        if len(done) == done.stop:
            raise KeyboardInterrupt
        done.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr("robust_tickets.tickets.search.fit", counted)
    return done


@pytest.fixture
def search(fits, spoken):
    """Search by a recipe, perhaps with a net or images of one's own: the folder, and the rounds trained."""

    def run(recipe, runs, seed=0, **own):
        before = len(fits)
        machine = Machine("cpu", spoken)
        path = search_stage.search(Experiment(recipe, **own), seed, RunDirectory.of(runs, recipe), machine)
        return path.parent, len(fits) - before

    return run
