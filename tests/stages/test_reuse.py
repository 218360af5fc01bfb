"""What one comparison has trained another takes over, if it is the same training."""

from dataclasses import replace

import pytest

from robust_tickets.base.machine import Machine
from robust_tickets.comparison import compare as comparison
from robust_tickets.recipe.fields import Compare
from robust_tickets.report.read import arm_result
from robust_tickets.runs import files
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training.checkpoint import Checkpoint


@pytest.fixture
def compare(tmp_path, spoken):
    """Compare by a recipe: the run directory, and the arms that were taken over."""

    def run(recipe, seed=0, where="runs"):
        spoken.lines.clear()
        run = comparison.compare(Experiment(recipe, machine=Machine("cpu", spoken)), [seed], tmp_path / where)
        taken = [line.rpartition("/")[2] for line in spoken.lines if line.startswith("copied from")]
        return run, taken

    return run


@pytest.fixture
def base(tiny_recipe):
    return replace(tiny_recipe, compare=Compare(("dense", "dense-short", "ticket")))


def changed(recipe, concern, **fields):
    return replace(recipe, **{concern: replace(getattr(recipe, concern), **fields)})


def test_arms_that_do_not_hang_on_what_changed_are_taken_over_bit_for_bit(base, compare):
    first, _ = compare(base)
    other = changed(base, "search", ratio=0.3)
    second, taken = compare(other)
    alone, nothing = compare(other, where="alone")
    assert taken == ["dense", "dense-short"]
    assert nothing == []
    for arm in base.compare.arms:
        for name in ("best", "last"):
            weights = [
                Checkpoint.load(run.arm(0, arm).path / f"{name}.safetensors").state for run in (second, alone)
            ]
            assert all((weights[0][key] == weights[1][key]).all() for key in weights[0])
        results = [arm_result(run, 0, arm) for run in (second, alone)]
        assert results[0].history == results[1].history
        assert results[0].points == results[1].points
        assert results[0].accuracy == results[1].accuracy
        assert results[0].about == results[1].about
    assert arm_result(second, 0, "dense").ledger == arm_result(first, 0, "dense").ledger


def test_other_arms_beside_each_other_share_the_ticket_too(base, compare):
    compare(base)
    _, taken = compare(replace(base, compare=Compare(("dense", "ticket", "ticket-reinit"))))
    assert taken == ["ticket", "dense"]


@pytest.mark.parametrize(
    ("concern", "fields", "taken"),
    [
        ("train", {"lr": 0.05}, []),
        ("train", {"epochs": 4}, ["ticket", "dense-short"]),
        ("train", {"ticket_epochs": 1}, ["dense"]),
        ("data", {"train_images": 96}, []),
        ("evaluate", {"val_steps": 3}, []),
        ("evaluate", {"early_points": 2}, []),
        ("search", {"lr": 0.05}, ["dense", "dense-short"]),
    ],
)
def test_only_the_same_training_is(concern, fields, taken, base, compare):
    compare(base)
    _, found = compare(changed(base, concern, **fields))
    assert found == taken


def test_another_seed_trains_anew(base, compare):
    compare(base)
    _, taken = compare(changed(base, "search", ratio=0.3), seed=1)
    assert taken == []


@pytest.mark.parametrize("damage", ["unfinished", "other machine", "other images", "no key", "no json"])
def test_what_is_not_whole_or_of_another_machine_is_passed_over(damage, base, compare):
    first, _ = compare(base)
    for arm in ("dense", "dense-short"):
        folder = first.arm(0, arm)
        about = files.read_json(folder.record)
        if damage == "unfinished":
            folder.ledger.unlink()
        elif damage == "no key":
            del about["key"]
            files.write_json(folder.record, about)
        elif damage == "no json":
            files.write_text(folder.record, "[")
    if damage == "other images":  # of the same named set, as a JPEG copy is
        inputs = files.read_json(first.path / "inputs.json")
        files.write_json(first.path / "inputs.json", {**inputs, "images": "0" * 16})
    if damage == "other machine":
        env = files.read_json(first.path / "env.json")
        files.write_json(first.path / "env.json", {**env, "cpu": "an abacus"})
    second, taken = compare(changed(base, "search", ratio=0.3))
    assert taken == []
    assert arm_result(second, 0, "dense").history
