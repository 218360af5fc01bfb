"""A whole net on the ticket's own stages, for the ticket's FLOPs: the control of what a search trained."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from training_case import same_state, train

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.comparison import estimate
from robust_tickets.data.dataset import SPECS
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import Compare, Model
from robust_tickets.report import verdict
from robust_tickets.report.read import arm_result
from robust_tickets.report.timing_text import markdown
from robust_tickets.runs.files import read_json
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.reuse import arm_key
from robust_tickets.tickets.starting_net import starting_net
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint

DIGITS = SPECS["digits"]


@pytest.fixture(scope="module")
def staged(tiny_recipe):
    """A search of channels on half of the images, whose ticket keeps what it has learned."""
    search = replace(
        tiny_recipe.search, granularity="channel", rounds=2, ratio=0.3, images=64, after="lr-rewind"
    )
    return replace(
        tiny_recipe,
        model=Model("conv-2", width=0.25),
        search=search,
        compare=Compare(("dense", "ticket", "dense-staged")),
    )


@pytest.fixture(scope="module")
def compared(staged, compare_quickly, tmp_path_factory):
    """Its comparison."""
    return compare_quickly(Experiment(staged), [0], tmp_path_factory.mktemp("runs"), report=True)


def test_each_stage_takes_the_flops_of_the_ticket_s_to_a_step(compared):
    ticket, whole = (arm_result(compared, 0, arm) for arm in ("ticket", "dense-staged"))
    for theirs, ours in ((ticket.before, whole.before), (ticket.ledger, whole.ledger)):
        steps = ours["charged_passes"] / (32 * {True: 4, False: 6}[ours is whole.before])
        step = ours["charged_flops"] / steps
        assert theirs["charged_flops"] <= ours["charged_flops"] < theirs["charged_flops"] + step


def test_it_is_one_training_after_the_other(compared, staged, tiny_data):
    experiment = Experiment(staged)
    net = experiment.fresh_net(0)
    half = replace(tiny_data, train=tiny_data.train.first(64))
    for arm, images, settings in (
        ("dense-staged-first", half, staged.search),
        ("dense-staged", tiny_data, staged.train),
    ):
        last = json.loads(compared.arm(0, arm).metrics.read_text().splitlines()[-1])
        train(net, None, images, experiment.config(settings, last["step"], 0))
    assert same_state(Checkpoint.load(compared.arm(0, "dense-staged").last).state, copy_state(net))


def test_the_table_charges_it_both(compared, monkeypatch):
    monkeypatch.setattr(verdict, "arms_at_chance", lambda *_: [])  # trained so briefly, all are
    text = markdown(compared)
    assert "**On the ticket's own stages, at equal cost** (`dense-staged`" in text
    row = pd.read_csv(compared.path / "timing.csv").set_index("arm").loc["dense-staged"]
    first, then = (read_json(compared.arm(0, arm).ledger) for arm in ("dense-staged-first", "dense-staged"))
    assert row.search_s == pytest.approx(first["charged_seconds"], rel=5e-6)  # the file has six digits
    assert row.total_flops == first["charged_flops"] + then["charged_flops"]
    assert not text.count("cannot be said whether the pruning saves")


def test_nothing_of_it_is_done_twice(copy, staged, compare_quickly, spoken):
    other = replace(staged, compare=Compare(("dense", "dense-short", "ticket", "dense-staged")))
    compare_quickly(Experiment(other, machine=Machine("cpu", spoken)), [0], copy.parents[1])
    arms = [line.rpartition("/")[2] for line in spoken.lines if line.startswith("copied from")]
    assert sorted(arms) == ["dense", "dense-staged", "dense-staged-first", "ticket"]


@pytest.fixture
def copy(compared, tmp_path):
    """The folder of the seed in a copy of the run directory."""
    return shutil.copytree(compared.path, tmp_path / compared.path.name) / "seed-0"


def test_a_first_stage_that_was_removed_is_trained_again(copy, compared, staged, compare_quickly):
    shutil.rmtree(copy / "dense-staged-first")
    compare_quickly(Experiment(staged), [0], copy.parents[1])
    for arm in ("dense-staged-first", "dense-staged"):
        assert (copy / arm / "last.safetensors").read_bytes() == compared.arm(0, arm).last.read_bytes()


def test_a_first_stage_without_its_weights_or_with_damaged_ones_is_named(copy, staged, compare_quickly):
    file = copy / "dense-staged-first" / "last.safetensors"
    content = file.read_bytes()
    file.unlink()
    compare_quickly(Experiment(staged), [0], copy.parents[1])  # nobody needs them any more
    (copy / "dense-staged" / "ledger.json").unlink()
    with pytest.raises(InputError, match=rf"last.safetensors is gone.*remove {file.parent} and give"):
        compare_quickly(Experiment(staged), [0], copy.parents[1])
    file.write_bytes(content[:100])
    with pytest.raises(InputError, match=f"remove {file.parent} and give the same command again"):
        compare_quickly(Experiment(staged), [0], copy.parents[1])


def test_the_images_of_the_first_stage_are_part_of_what_it_is(staged):
    plans = [
        planning.first_stage(replace(staged, search=replace(staged.search, images=n)), "dense-staged", DIGITS)
        for n in (64, 96)
    ]
    plans[1] = replace(plans[1], steps=plans[0].steps, per_epoch=plans[0].per_epoch)
    assert len({arm_key(staged, plan, None, 0, {}) for plan in plans}) == 2


def test_it_is_foreseen(staged):
    rows = estimate.estimate(Experiment(staged), 1).rows.set_index("arm")
    assert rows.flops["dense-staged-first"] >= rows.flops["search"]
    assert rows.flops["dense-staged"] >= rows.flops["ticket"]


def test_where_nothing_is_pruned_no_mask_is_kept(staged):
    experiment = Experiment(staged)
    net = experiment.fresh_net(0)
    whole = Ticket(experiment.model_spec, copy_state(net), Mask.full(net), {}, "", 0, 0, 0)
    assert starting_net(net, whole, DIGITS.shape, staged.compute).mask is None
