"""A round that is refused after its training is kept on disk, and not trained again."""

from dataclasses import replace

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.fields import Model
from robust_tickets.recipe.training_fields import Search
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import search as stage
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets import connectivity, pruning_step
from robust_tickets.training import loop


def test_a_search_in_memory_keeps_the_ticket_in_its_error(tiny_recipe, monkeypatch):
    search = Search(batch=32, method="natural", epochs=1, ratio=0.3, rounds=2)
    recipe = replace(tiny_recipe, model=Model("conv-2", width=0.1), search=search)
    first = stage.find_ticket(Experiment(replace(recipe, search=replace(search, rounds=1))), 0)[0]
    checked = []

    def refuse_the_second(*_):
        checked.append(1)
        if len(checked) == 2:
            refuse()

    with monkeypatch.context() as patch:
        patch.setattr(connectivity, "check_paths", refuse_the_second)
        with pytest.raises(
            InputError, match=r"no path leads.*ticket of round 2 is kept in this error"
        ) as error:
            stage.find_ticket(Experiment(recipe), 0)
    assert error.value.ticket.mask.density == pytest.approx(0.49, abs=0.01)
    assert error.value.ticket.hash == stage.find_ticket(Experiment(recipe), 0)[0].hash

    def diverge(*_):
        raise InputError("weights are not finite")

    with monkeypatch.context() as patch:
        patch.setattr(pruning_step.WeightStep, "prune", diverge)
        with pytest.raises(InputError) as early:
            stage.find_ticket(Experiment(recipe), 0)
    assert not hasattr(early.value, "ticket")  # before the end of any round
    prune = pruning_step.WeightStep.prune

    def diverge_in_round_2(self, scores, mask):
        return prune(self, scores, mask) if mask.count == mask.size else diverge()

    monkeypatch.setattr(pruning_step.WeightStep, "prune", diverge_in_round_2)
    with pytest.raises(InputError, match="ticket of round 1 is kept") as later:
        stage.find_ticket(Experiment(recipe), 0)
    assert all(bool((later.value.ticket.mask[name] == first.mask[name]).all()) for name in first.mask)


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
