"""The early stop of a round: its distance, its decisions, and that a stop changes nothing else."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.data.dataset import SPECS
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.fields import Compare
from robust_tickets.report.read import arm_result
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import plan as planning
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.mask_distance import MaskConvergence, jaccard_distance
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training import checkpointer

SETS = st.lists(st.booleans(), min_size=6, max_size=6)
TWELVE = {"rounds": 1, "epochs": 12, "lr": 0.02}


@settings(deadline=None, derandomize=True, database=None)
@given(one=SETS, other=SETS)
def test_the_distance_is_that_of_the_sets_of_kept_weights(one, other):
    a, b = ({i for i, entry in enumerate(bits) if entry} for bits in (one, other))
    expected = 1 - len(a & b) / len(a | b) if a | b else 0
    masks = [Mask({"a": torch.tensor(x[:2]), "b": torch.tensor(x[2:]).reshape(2, 2)}) for x in (one, other)]
    assert jaccard_distance(*masks) == pytest.approx(expected, abs=1e-12)


def end_by(history, threshold):
    """The epoch at which the recorded distances end a round."""
    for record in history:
        distances = record["mask_distances"]
        if len(distances) == 4 and all(distance < threshold for distance in distances):
            return record["epoch"]
    return 12


def test_each_decision_follows_from_the_recorded_distances(tiny_recipe, search_of):
    search = search_of(tiny_recipe, **TWELVE)
    net = search.net()
    whole = search.run(net)
    assert [len(r["mask_distances"]) for r in whole.history] == [0, 1, 2, 3] + [4] * 8
    largest = sorted(max(r["mask_distances"]) for r in whole.history[4:])
    for threshold in (largest[0] / 2, largest[0] + 1e-9, largest[3] + 1e-9, largest[-1] + 1e-9):
        ledger = Ledger("search")
        history = search_of(tiny_recipe, **TWELVE, stop_distance=threshold).run(ledger=ledger).history
        end = end_by(whole.history, threshold)
        assert history == whole.history[:end]
        assert history[-1]["passes"] == ledger.charged_passes
    assert end_by(whole.history, largest[3] + 1e-9) < 12
    scores = SCORES[tiny_recipe.search.criterion](prunable_weights(net), Mask.full(net))
    assert whole.mask == prune(scores, Mask.full(net), tiny_recipe.search.ratio)


def test_the_distances_are_those_of_the_masks_that_rounds_would_end_with(tiny_recipe, search_of):
    """Searches of one, two and three epochs on the constant schedule end with those masks."""
    fields = {**TWELVE, "schedule": "constant"}
    history = search_of(tiny_recipe, **{**fields, "epochs": 3}).run().history
    masks = [search_of(tiny_recipe, **{**fields, "epochs": epochs}).run().mask for epochs in (1, 2, 3)]
    assert history[1]["mask_distances"] == [jaccard_distance(masks[1], masks[0])]
    assert history[2]["mask_distances"] == [jaccard_distance(masks[2], m) for m in (masks[1], masks[0])]


def test_a_round_does_not_end_before_the_step_to_rewind_to(tiny_recipe, search_of):
    """Every mask is near enough, and yet it trains through the seventh epoch."""
    fields = {**TWELVE, "stop_distance": 0.999, "schedule": "constant"}
    rewound = search_of(tiny_recipe, **fields, rewind_epochs=6).run()
    assert rewound.history[-1]["epoch"] == 7
    usual = search_of(tiny_recipe, **fields).run()
    assert usual.history[-1]["epoch"] == 5
    assert not torch.equal(rewound.init["fc1.weight"], usual.init["fc1.weight"])


def test_a_round_too_short_to_end_early_is_refused(tiny_recipe, search_of):
    words = r"search.stop_distance compares .* last 4 epochs, .* has only 4: give more by search.epochs"
    with pytest.raises(InputError, match=words):
        _ = search_of(tiny_recipe, epochs=4, stop_distance=0.1).plan


def test_a_mask_that_would_empty_a_layer_now_is_no_mask():
    masks = iter([Mask({"a": torch.tensor([True, False])})] * 2 + [None] + [Mask({"a": torch.ones(2) > 0})])

    def next_mask():
        mask = next(masks)
        if mask is None:
            raise InputError("leaves nothing")
        return mask

    hook = MaskConvergence(Mask({"a": torch.ones(2) > 0}), next_mask, 0.5)
    assert [hook()[0]["mask_distances"] for _ in range(4)] == [[], [0.0], [], []]


def test_a_search_that_is_stopped_ends_where_it_would_have(tiny_recipe, tmp_path, monkeypatch):
    """Killed at several steps of a round, it stops at the same epoch with the same ticket."""
    recipe = replace(tiny_recipe, search=replace(tiny_recipe.search, **TWELVE, stop_distance=0.04))
    whole_run, run = (RunDirectory.of(tmp_path / name, recipe) for name in ("whole", "killed"))
    whole = search_stage.search(Experiment(recipe), 0, whole_run)

    class Killed(BaseException):
        pass

    save, steps = checkpointer.Checkpointer.save, [5, 14, 18]

    def save_and_kill(self, step, state):
        save(self, step, state)
        if steps and step >= steps[0]:
            steps.pop(0)
            raise Killed

    monkeypatch.setattr(checkpointer.Checkpointer, "save", save_and_kill)
    machine = Machine("cpu", SilentProgress(), checkpoint_minutes=0, checkpoint_steps=1)
    experiment = Experiment(recipe, machine=machine)
    for _ in range(3):
        with pytest.raises(Killed):
            search_stage.search(experiment, 0, run)
    again = search_stage.search(experiment, 0, run)
    metrics = [path.with_name("metrics.jsonl").read_text() for path in (again, whole)]
    assert metrics[0] == metrics[1]
    assert '"epoch": 12' not in metrics[0]
    assert Ticket.load(again).hash == Ticket.load(whole).hash


def test_equal_cost_is_that_of_the_search_that_ran(tiny_recipe, compare_quickly, tmp_path):
    """Dense gets what search and ticket took, rounded up to an epoch, and not what was planned."""
    recipe = replace(
        tiny_recipe,
        search=replace(tiny_recipe.search, **TWELVE, stop_distance=0.04),
        compare=Compare(("dense", "dense-equal-cost", "ticket")),
    )
    run = compare_quickly(Experiment(recipe), [0], tmp_path)
    results = {arm: arm_result(run, 0, arm) for arm in recipe.compare.arms}
    cost = results["ticket"].ledger["charged_flops"] + results["ticket"].before["charged_flops"]
    epoch = results["dense"].history[0]["flops"]
    assert cost <= results["dense-equal-cost"].ledger["charged_flops"] < cost + epoch
    planned = planning.plan(recipe, "dense-equal-cost", SPECS["digits"])
    assert results["dense-equal-cost"].about["epochs"] < planned.epochs
