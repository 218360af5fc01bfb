"""A round that is refused after its training is kept on disk, and not trained again."""

from dataclasses import replace

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.fields import Model, Search
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import search as stage
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets import connectivity
from robust_tickets.training import loop


def refuse(*_):
    raise InputError("no path leads through the pruned network")


def test_a_refused_round_is_kept(tiny_recipe, tmp_path, monkeypatch):
    search = Search(batch=32, method="natural", epochs=1, ratio=0.3)
    recipe = replace(tiny_recipe, model=Model("conv-2", width=0.1), search=search)
    run = RunDirectory.of(tmp_path, recipe)
    with monkeypatch.context() as patch:
        patch.setattr(connectivity, "check_paths", refuse)
        patch.setattr(stage, "check_paths", refuse)
        with pytest.raises(InputError, match="after round 1, no path leads"):
            stage.search(Experiment(recipe), 0, run)
        kept = run.search(0).round(1).ticket.read_bytes()
        assert not run.search(0).is_finished
        patch.setattr(loop, "fit", lambda *_: pytest.fail("trained again"))
        with pytest.raises(InputError, match="no path leads"):
            stage.search(Experiment(recipe), 0, run)
    monkeypatch.setattr(loop, "fit", lambda *_: pytest.fail("trained again"))
    assert stage.search(Experiment(recipe), 0, run).read_bytes() == kept
