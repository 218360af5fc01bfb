"""A search that is watched: what it says, and how many rounds it trains."""

import pytest

from robust_tickets import stages
from robust_tickets.progress import Silent
from robust_tickets.runs import RunDirectory
from robust_tickets.stages import Experiment, Machine
from robust_tickets.tickets import search as tickets_search


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
    real = tickets_search.fit

    class Fits(list):
        stop = None

    done = Fits()

    def counted(*args, **kwargs):
        if len(done) == done.stop:
            raise KeyboardInterrupt
        done.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(tickets_search, "fit", counted)
    return done


@pytest.fixture
def search(fits, spoken):
    """Search by a recipe, perhaps with a net or images of one's own: the folder, and the rounds trained."""

    def run(recipe, runs, seed=0, **own):
        before = len(fits)
        machine = Machine("cpu", spoken)
        path = stages.search(Experiment(recipe, **own), seed, RunDirectory.of(runs, recipe), machine)
        return path.parent, len(fits) - before

    return run
