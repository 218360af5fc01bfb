"""A search that counts its trainings, progress that remembers its lines, a checkpoint to evaluate."""

import shutil

import pytest
from evaluation_case import SANITY, save_checkpoint

from robust_tickets.base.ledger import Passes
from robust_tickets.base.machine import Machine
from robust_tickets.evaluation.sanity_report import SanityReport
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training import loop


@pytest.fixture
def fits(monkeypatch):
    """A list that grows by one with every training of a search."""
    trainings, fit = [], loop.fit
    monkeypatch.setattr(loop, "fit", lambda *args, **kwargs: trainings.append(1) or fit(*args, **kwargs))
    return trainings


@pytest.fixture
def search(fits, spoken):
    """Search by a recipe, perhaps with another network or images; gives folder and rounds trained."""

    def run(recipe, runs, seed=0, **own):
        before = len(fits)
        experiment = Experiment(recipe, **own, machine=Machine("cpu", spoken))
        path = search_stage.search(experiment, seed, RunDirectory.of(runs, recipe))
        return path.parent, len(fits) - before

    return run


@pytest.fixture(scope="module")
def checkpoint(tiny_recipe, tmp_path_factory):
    """A small trained checkpoint, in a folder of its own."""
    file = tmp_path_factory.mktemp("checkpoint") / "best.safetensors"
    save_checkpoint(tiny_recipe, file)
    return file


@pytest.fixture
def new_copy(checkpoint, tmp_path):
    """Copies the checkpoint into a new folder of that name."""

    def copy(name):
        (tmp_path / name).mkdir()
        return shutil.copy(checkpoint, tmp_path / name / checkpoint.name)

    return copy


@pytest.fixture(scope="module")
def no_sanity():
    """Sanity checks that take no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SANITY, lambda *_: SanityReport((), 40, Passes()))
        yield
