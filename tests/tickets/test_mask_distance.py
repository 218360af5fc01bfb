"""The early stop of a search: its distance, its decisions, and that a stop changes nothing else."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.comparison import compare as comparison
from robust_tickets.data.dataset import SPECS
from robust_tickets.models import registry
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.fields import Compare
from robust_tickets.report.read import arm_result
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import plan as planning
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.experiment import Experiment, model_spec
from robust_tickets.tickets.mask_distance import QUEUE, MaskConvergence, jaccard_distance
from robust_tickets.tickets.search import find_ticket
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training import checkpointer
from robust_tickets.training.config import Session

SETS = st.lists(st.booleans(), min_size=6, max_size=6)


def mask_of(bits):
    return Mask({"a": torch.tensor(bits[:2]), "b": torch.tensor(bits[2:]).reshape(2, 2)})


@settings(deadline=None, derandomize=True, database=None)
@given(one=SETS, other=SETS)
def test_the_distance_is_that_of_the_sets_of_kept_weights(one, other):
    a, b = ({i for i, kept in enumerate(bits) if kept} for bits in (one, other))
    expected = 1 - len(a & b) / len(a | b) if a | b else 0
    assert jaccard_distance(mask_of(one), mask_of(other)) == pytest.approx(expected, abs=1e-12)


def test_sparse_masks_that_share_nothing_are_far_apart():
    """Where the Hamming distance, over all weights, says that they are nearly the same."""
    one, other = torch.zeros(1000, dtype=torch.bool), torch.zeros(1000, dtype=torch.bool)
    one[:40], other[40:80] = True, True
    assert float((one != other).double().mean()) == 0.08
    assert jaccard_distance(Mask({"a": one}), Mask({"a": other})) == 1


def search(recipe, data, **changes):
    recipe = replace(recipe, search=replace(recipe.search, rounds=1, epochs=12, lr=0.02, **changes))
    net = registry.build(model_spec(recipe, data.spec), seed=0)
    plan = planning.search_plan(recipe, data.spec)
    ledger = Ledger("search")
    with ledger.measure():
        how = Experiment(recipe).fit(recipe.search, plan.round_steps, 0)
        found = find_ticket(net, data, recipe.search, how, Session(ledger), rewind=plan.rewind)
    return net, found, ledger


def decided(history, threshold):
    """The epoch at which the logged distances end a round."""
    for record in history:
        distances = record["mask_distances"]
        if len(distances) == 4 and all(distance < threshold for distance in distances):
            return record["epoch"]
    return None


def test_each_decision_is_reproduced_from_the_logged_distances(tiny_recipe, tiny_data):
    net, whole, _ = search(tiny_recipe, tiny_data)
    assert [len(r["mask_distances"]) for r in whole.history] == [0, 1, 2, 3] + [4] * 8
    worst = sorted(max(r["mask_distances"]) for r in whole.history[4:])
    for threshold in (worst[0] / 2, worst[0] + 1e-9, worst[3] + 1e-9, worst[-1] + 1e-9):
        _, found, ledger = search(tiny_recipe, tiny_data, stop_distance=threshold)
        end = decided(whole.history, threshold) or 12
        assert found.history[-1]["epoch"] == end
        assert [r["mask_distances"] for r in found.history] == [
            r["mask_distances"] for r in whole.history[:end]
        ]
        assert found.history[-1]["passes"] == ledger.charged_passes == whole.history[end - 1]["passes"]
    assert decided(whole.history, worst[3] + 1e-9) < 12
    score = SCORES[tiny_recipe.search.criterion](prunable_weights(net), Mask.full(net))
    assert whole.mask == prune(score, Mask.full(net), tiny_recipe.search.ratio)


def test_the_distances_are_those_of_the_masks_that_would_be_cut(tiny_recipe, tiny_data):
    """Searches of one, two and three epochs on the constant schedule end with those masks."""
    _, whole, _ = search(tiny_recipe, tiny_data, schedule="constant")
    masks = []
    for epochs in (1, 2, 3):
        recipe = replace(
            tiny_recipe,
            search=replace(tiny_recipe.search, rounds=1, epochs=epochs, lr=0.02, schedule="constant"),
        )
        net = registry.build(model_spec(recipe, tiny_data.spec), seed=0)
        plan = planning.search_plan(recipe, tiny_data.spec)
        how = Experiment(recipe).fit(recipe.search, plan.round_steps, 0)
        masks.append(find_ticket(net, tiny_data, recipe.search, how, Session(Ledger("search"))).mask)
    assert whole.history[1]["mask_distances"] == [jaccard_distance(masks[1], masks[0])]
    assert whole.history[2]["mask_distances"] == [jaccard_distance(masks[2], m) for m in (masks[1], masks[0])]


def test_a_round_does_not_end_before_the_step_that_is_rewound_to(tiny_recipe, tiny_data):
    """Every mask is near enough, and yet it trains through the seventh epoch."""
    early = {"stop_distance": 0.999, "schedule": "constant"}
    _, found, _ = search(tiny_recipe, tiny_data, **early, rewind_epochs=6)
    assert found.history[-1]["epoch"] == 7
    _, usual, _ = search(tiny_recipe, tiny_data, **early)
    assert usual.history[-1]["epoch"] == 5
    assert not torch.equal(found.init["fc1.weight"], usual.init["fc1.weight"])


def test_a_round_too_short_to_be_ended_early_is_refused(tiny_recipe):
    recipe = replace(tiny_recipe, search=replace(tiny_recipe.search, epochs=4, stop_distance=0.1))
    with pytest.raises(
        InputError,
        match=r"search.stop_distance holds .* last 4 epochs, .* has only 4: give more by search.epochs",
    ):
        planning.search_plan(recipe, SPECS["digits"])


def test_a_mask_that_would_empty_a_layer_now_is_no_mask():
    masks = iter([Mask({"a": torch.tensor([True, False])})] * 2 + [None] + [Mask({"a": torch.ones(2) > 0})])

    def cut():
        found = next(masks)
        if found is None:
            raise InputError("leaves nothing")
        return found

    watch = MaskConvergence(Mask({"a": torch.ones(2) > 0}), cut, 0.5)
    assert [watch()[0]["mask_distances"] for _ in range(4)] == [[], [0.0], [], []]


def test_what_it_remembers_can_be_put_back():
    full = Mask({"a": torch.ones(5) > 0, "b": torch.ones(2, 3) > 0})
    drawn = [Mask({n: torch.rand(k.shape) < 0.5 for n, k in full.items()}) for _ in range(7)]
    one = MaskConvergence(full, iter(drawn).__next__, 0.1)
    for _ in range(QUEUE + 1):
        one()
    other = MaskConvergence(full, iter(drawn[QUEUE + 1 :]).__next__, 0.1)
    other.load_state_dict(one.state_dict())
    assert other() == one()


def test_a_search_that_is_stopped_ends_where_it_would_have(tiny_recipe, tmp_path, monkeypatch):
    """Killed at several steps of a round, it stops at the same epoch with the same ticket."""
    recipe = replace(
        tiny_recipe, search=replace(tiny_recipe.search, rounds=1, epochs=12, lr=0.02, stop_distance=0.04)
    )
    whole = search_stage.search(
        Experiment(recipe), 0, RunDirectory.of(tmp_path / "whole", recipe), Machine("cpu", SilentProgress())
    )
    run = RunDirectory.of(tmp_path / "cut", recipe)

    class Stop(BaseException):
        pass

    save, left = checkpointer.Checkpointer.save, [5, 14, 18]

    def saved(self, step, state):
        save(self, step, state)
        if left and step >= left[0]:
            left.pop(0)
            raise Stop

    monkeypatch.setattr(checkpointer.Checkpointer, "save", saved)
    machine = Machine("cpu", SilentProgress(), checkpoint_minutes=0, checkpoint_steps=1)
    for _ in range(3):
        with pytest.raises(Stop):
            search_stage.search(Experiment(recipe), 0, run, machine)
    again = search_stage.search(Experiment(recipe), 0, run, machine)
    assert (again.parent / "metrics.jsonl").read_text() == (whole.parent / "metrics.jsonl").read_text()
    assert Ticket.load(again).hash == Ticket.load(whole).hash
    assert '"epoch": 12' not in (again.parent / "metrics.jsonl").read_text()


def test_equal_cost_is_that_of_the_search_that_really_ran(tiny_recipe, machine, tmp_path):
    """Dense is given what search and ticket took, rounded up to an epoch, and not what was planned."""
    recipe = replace(
        tiny_recipe,
        search=replace(tiny_recipe.search, rounds=1, epochs=12, lr=0.02, stop_distance=0.04),
        compare=Compare(("dense", "dense-equal-cost", "ticket")),
    )
    run = comparison.compare(Experiment(recipe), [0], tmp_path, machine)
    found = {arm: arm_result(run, 0, arm) for arm in recipe.compare.arms}
    spent = found["ticket"].ledger["charged_flops"] + found["ticket"].before["charged_flops"]
    epoch = found["dense"].history[0]["flops"]
    given = found["dense-equal-cost"].ledger["charged_flops"]
    assert spent <= given < spent + epoch
    planned = planning.plan(recipe, "dense-equal-cost", SPECS["digits"])
    assert found["dense-equal-cost"].about["epochs"] < planned.epochs
