"""Dynamic sparse training: each layer keeps its count, and swaps what the papers say, when they say."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_case import half_mask, same_state, train

from robust_tickets.base.errors import InputError
from robust_tickets.comparison.estimate import estimate
from robust_tickets.data.dataset import SPECS
from robust_tickets.pruning.masking import Masking
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.fields import Compare
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.training_fields import Train, Training
from robust_tickets.report.read import arm_result
from robust_tickets.runs.files import read_json
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment, random_ticket
from robust_tickets.stages.train import PreparedTraining
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.methods.base import Step
from robust_tickets.training.wrappers.dst import DST, DSTSettings, swapped


def swapped_by_numpy(weight, kept, share, scores):
    """The change of a layer, entry by entry: the smallest kept ones leave, then the largest scores enter."""
    flat = [(abs(w), i) for i, w in enumerate(weight.ravel())]
    on = set(np.flatnonzero(kept))
    count = math.floor(share * len(on))
    on -= {i for _, i in sorted(pair for pair in flat if pair[1] in on)[:count]}
    free = [(-s, i) for i, s in enumerate(scores.ravel()) if i not in on]
    on |= {i for _, i in sorted(free)[:count]}
    return np.isin(np.arange(weight.size), list(on)).reshape(weight.shape)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.999])
@pytest.mark.parametrize("density", [0.1, 0.5, 0.9])
def test_a_change_swaps_the_smallest_weights_for_the_largest_scores(share, density):
    draws = np.random.default_rng(7)
    # few different values, so that many are equal
    weight, scores = (draws.integers(-4, 5, (6, 5, 3, 3)) / 4 for _ in range(2))
    kept = draws.random(weight.shape) < density
    weight = weight * kept
    result = swapped(*map(torch.from_numpy, (weight, kept)), share, torch.from_numpy(scores))
    assert torch.equal(result, torch.from_numpy(swapped_by_numpy(weight, kept, share, scores)))
    assert result.sum() == kept.sum()


def test_a_whole_layer_stays_whole():
    whole = torch.ones(3, 4, dtype=torch.bool)
    assert swapped(torch.randn(3, 4), whole, 0.5, torch.randn(3, 4)) is whole


@pytest.fixture
def moves(monkeypatch):
    """What each move of a mask finds: gradients and weights, the mask before and after."""
    found, move = [], Masking.move

    def watched(self, masks):
        before = {name: (w.detach().clone(), m.clone(), w.grad) for name, (w, m) in self.weights.items()}
        gradients = {name: None if g is None else g.clone() for name, (_, _, g) in before.items()}
        move(self, masks)
        found.append((before, gradients, {name: m.clone() for name, (_, m) in self.weights.items()}))

    monkeypatch.setattr(Masking, "move", watched)
    return found


def with_dst(config, *settings, **fields):
    return replace(config, settings=Train(**vars(config.settings), dst=DSTSettings(*settings, **fields)))


@pytest.mark.parametrize("grow", ["random", "gradient"])
def test_layers_keep_their_counts_and_move_at_every_interval(grow, moves, conv_net, tiny_data, config):
    mask = half_mask(conv_net, 0.8)
    result, _ = train(conv_net, mask, tiny_data, with_dst(config, 0.4, grow, interval=2, end=0.9))
    assert config.steps == 8
    assert len(moves) == 3  # before steps 2, 4 and 6 end; step 7.2 of 8 and all later ones leave the mask
    for (before, gradients, after), step in zip(moves, (2, 4, 6), strict=True):
        share = 0.2 * (1 + math.cos(math.pi * step / 8))  # 0.9 of 8 steps, rounded up
        moved = 0
        for name, (weight, old, _) in before.items():
            assert after[name].sum() == old.sum() == mask[name].sum(), name
            moved += int((after[name] != old).sum())
            if grow == "gradient":
                arrays = (weight.numpy(), old.numpy() != 0, share, gradients[name].abs().numpy())
                assert np.array_equal(after[name].numpy() != 0, swapped_by_numpy(*arrays)), name
        assert moved
    final = moves[-1][2]
    assert all(not result.last[name][entries == 0].any() for name, entries in final.items())
    assert any((final[name] != mask[name]).any() for name in final)


def test_weights_grow_from_zero_without_momentum(conv_net, tiny_data, config, monkeypatch):
    """And a step that grows by gradients changes no weight but those that it prunes."""
    steps, states = [], []
    masked = Masking.mask_parameters

    def watched(self):
        masked(self)
        weights = {name: w.detach().clone() for name, (w, _) in self.weights.items()}
        momenta = (
            {name: self.optimiser.state[w].get("momentum_buffer") for name, (w, _) in self.weights.items()}
            if self.optimiser
            else {}
        )
        states.append({name: None if v is None else v.clone() for name, v in momenta.items()})
        steps.append((weights, {name: m.clone() for name, (_, m) in self.weights.items()}))

    monkeypatch.setattr(Masking, "mask_parameters", watched)
    train(conv_net, half_mask(conv_net), tiny_data, with_dst(config, 0.5, interval=3, end=0.0))
    (before, old), (after, new) = steps[3], steps[4]  # steps[0] is the start, so this is step 3
    for name in before:
        grown, pruned = (new[name] > old[name]), (new[name] < old[name])
        assert grown.any()
        assert not after[name][grown].any()
        assert not after[name][pruned].any()
        assert torch.equal(after[name][~pruned], before[name][~pruned]), name
        assert not states[4][name][new[name] == 0].any()


def test_a_mask_that_never_moves_is_the_static_one(conv_net, tiny_data, config):
    mask, twin = half_mask(conv_net), copy.deepcopy(conv_net)
    static, _ = train(conv_net, mask, tiny_data, config)
    # every layer is too small for one weight in a million
    still, _ = train(twin, mask, tiny_data, with_dst(config, 1e-6, "random", interval=1, end=0.0))
    assert same_state(static.last, still.last)


def test_a_whole_network_has_no_mask_to_move(conv_net, tiny_data, config):
    with pytest.raises(
        InputError, match=r"dst moves a mask, and the network is whole: .* leave dst.share out"
    ):
        train(conv_net, None, tiny_data, with_dst(config, 0.3))


@pytest.fixture
def recipe(tiny_recipe):
    """Few steps, of which every second one moves the mask."""
    train = replace(tiny_recipe.train, dst=DSTSettings(interval=2))
    arms = ("dense", "ticket", "set", "rigl", "flying-bird")
    return replace(tiny_recipe, train=train, compare=Compare(arms))


def test_arms_start_from_the_init_at_the_ticket_s_density_and_are_charged_no_search(
    recipe, tmp_path, compare_quickly
):
    recipes.check(recipe)
    planned = estimate(Experiment(recipe), 1).rows.set_index("arm")
    run = compare_quickly(Experiment(recipe), [0], tmp_path, report=True)
    ticket = read_json(run.arm(0, "ticket").record)
    start = random_ticket(Experiment(recipe), 0)
    finals = []
    for name in ("set", "rigl", "flying-bird"):
        result, folder = arm_result(run, 0, name), run.arm(0, name)
        assert result.before is None
        assert result.about["density"] == pytest.approx(ticket["density"], abs=2e-4)
        assert result.about["epochs"] == recipe.train.epochs
        state = Checkpoint.load(folder.last).state
        for weight, entries in start.mask.items():
            assert int((state[weight] != 0).sum()) <= int(entries.sum()), weight
        finals.append(state)
    assert not same_state(finals[0], finals[1])
    assert not same_state(finals[0], finals[2])
    dense = arm_result(run, 0, "dense")
    assert arm_result(run, 0, "rigl").ledger["charged_flops"] == dense.ledger["charged_flops"]
    assert planned.flops["rigl"] == dense.ledger["charged_flops"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"train": {"dst": {"interval": 7}}}, r"train\.dst does nothing without train\.dst\.share"),
        ({"search": {"dst": {"share": 0.3}}}, r"search\.dst"),
        (
            {"compare": {"arms": ["dense", "set"]}, "search": {"granularity": "channel"}},
            "compare.arms set moves single weights",
        ),
        (
            {"compare": {"arms": ["dense", "rigl"]}, "train": {"average": 0.9}},
            r"train\.average does not go with train\.dst",
        ),
        ({"arms": {"rigl": {"lr": 0.1}}, "compare": {"arms": ["dense", "rigl"]}}, r"arms\.rigl"),
    ],
)
def test_what_it_cannot_do_is_refused(table, message):
    with pytest.raises(InputError, match=message):
        recipes.from_table(table)


def test_an_arm_without_a_mask_is_refused_before_anything_is_trained():
    recipe = recipes.from_table({"train": {"dst": {"share": 0.3}}, "compare": {"arms": ["dense", "ticket"]}})
    with pytest.raises(InputError, match=r"train\.dst moves a mask, and dense has none: .*\[arms\.ticket\]"):
        planning.check(recipe, SPECS["digits"])
    alone = recipes.from_table({"arms": {"ticket": {"dst": {"share": 0.3}}}})
    planning.check(alone, SPECS["digits"])


def test_a_ticket_of_whole_channels_is_refused(recipe):
    dst = {"arms": {"ticket": {"dst": {"share": 0.3}}}, "search": {"granularity": "channel"}}
    with pytest.raises(InputError, match=r"arms\.ticket\.dst moves single weights, and search\.granularity"):
        planning.check(recipes.from_table(dst), SPECS["digits"])
    ticket = random_ticket(Experiment(recipe), 0)
    ticket.search["search"]["granularity"] = "channel"
    moving = replace(recipe.train, dst=DSTSettings(0.3))
    plan = planning.ArmPlan("ticket-from", moving, steps=2, per_epoch=4)
    with pytest.raises(InputError, match=r"this ticket prunes whole channels"):
        PreparedTraining.of(Experiment(recipe), 0, plan, ticket)


def test_the_settings_of_the_arms_are_those_of_the_papers(recipe):
    presets = {name: ARMS[name].schedule.settings(recipe).dst for name in ("set", "rigl", "flying-bird")}
    assert presets == {
        "set": DSTSettings(0.3, "random", 2, 0.75),
        "rigl": DSTSettings(0.3, "gradient", 2, 0.75),
        "flying-bird": DSTSettings(0.5, "random", 2, 0.0),
    }


@pytest.mark.parametrize(("count", "interval"), [(76, 5), (2000, 100), (12, 1), (1333, 99), (1334, 100)])
def test_a_short_schedule_has_room_for_ten_changes(count, interval):
    wrapper = DST(DSTSettings(share=0.3), make_method(Training(method="natural")))
    moves = [n for n in range(count) if wrapper._share(Step(n, count, 10))]
    assert moves[0] == interval
    assert set(torch.tensor(moves).diff().tolist()) == {interval}
    assert len(moves) >= min(10, count * 3 // 4 - 1)


def test_a_mask_that_would_never_move_is_refused():
    table = {"train": {"epochs": 1, "batch": 64, "dst": {"interval": 100}}}
    fields = {"data": {"name": "digits", "train_images": 640}, "compare": {"arms": ["dense", "set"]}}
    recipe = recipes.from_table(fields | table)
    message = r"train\.dst\.interval 100 leaves the mask as it is in a schedule of 10 steps: give at most 7"
    with pytest.raises(InputError, match=message):
        planning.check(recipe, SPECS["digits"])
