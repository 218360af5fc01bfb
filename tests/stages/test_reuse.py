"""What one comparison has trained another takes over, if it is the same training."""

import shutil
from dataclasses import replace

import pytest
from training_case import same_state

from robust_tickets.base.machine import Machine
from robust_tickets.comparison import compare as comparison
from robust_tickets.recipe.fields import Compare
from robust_tickets.report.read import arm_result
from robust_tickets.runs import files
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.reuse import arm_key
from robust_tickets.training.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def base(tiny_recipe):
    train = replace(tiny_recipe.train, epochs=2, ticket_epochs=1, warmup=0.0, warmup_lr=0.0)
    search = replace(tiny_recipe.search, epochs=1, rounds=1)
    return replace(
        tiny_recipe, train=train, search=search, compare=Compare(("dense", "dense-short", "ticket"))
    )


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    """The run directory of a comparison by the recipe."""
    return comparison.compare(Experiment(base), [0], tmp_path_factory.mktemp("trained"))


@pytest.fixture
def first(base, trained, tmp_path):
    """A copy of that run directory."""
    shutil.copytree(trained.path, tmp_path / "runs" / trained.path.name)
    return RunDirectory(tmp_path / "runs" / trained.path.name, base)


@pytest.fixture
def compare(tmp_path, spoken):
    """Compare by a recipe: the run directory, and the arms that were taken over."""

    def run(recipe, seed=0, where="runs"):
        spoken.lines.clear()
        experiment = Experiment(recipe, machine=Machine("cpu", spoken))
        run = comparison.compare(experiment, [seed], tmp_path / where)
        return run, [line.rpartition("/")[2] for line in spoken.lines if line.startswith("copied from")]

    return run


def changed(recipe, table, **fields):
    return replace(recipe, **{table: replace(getattr(recipe, table), **fields)})


def test_arms_that_do_not_depend_on_what_changed_are_taken_over_bit_for_bit(base, first, compare):
    other = changed(base, "search", ratio=0.3)
    second, taken = compare(other)
    alone, nothing = compare(other, where="alone")
    assert (taken, nothing) == (["dense", "dense-short"], [])
    for arm in base.compare.arms:
        for name in ("best", "last"):
            folders = [run.arm(0, arm).path for run in (second, alone)]
            assert same_state(*(Checkpoint.load(path / f"{name}.safetensors").state for path in folders))
        one, two = (arm_result(run, 0, arm) for run in (second, alone))
        assert (one.history, one.points, one.accuracy) == (two.history, two.points, two.accuracy)
        assert one.about == two.about
    assert arm_result(second, 0, "dense").ledger == arm_result(first, 0, "dense").ledger


def test_other_arms_beside_each_other_share_the_ticket_too(base, first, compare):
    _, taken = compare(replace(base, compare=Compare(("dense", "ticket", "ticket-reinit"))))
    assert taken == ["ticket", "dense"]


@pytest.mark.parametrize(
    ("table", "fields", "same"),
    [
        ("train", {"lr": 0.05}, []),
        ("train", {"epochs": 4}, ["dense-short", "ticket"]),
        ("train", {"ticket_epochs": 2}, ["dense"]),
        ("data", {"train_images": 96}, []),
        ("evaluate", {"val_steps": 3}, []),
        ("evaluate", {"early_points": 2}, []),
        ("search", {"lr": 0.05}, ["dense", "dense-short", "ticket"]),  # but for the ticket's hash
        ("compare", {"arms": ("dense",)}, ["dense", "dense-short", "ticket"]),
    ],
)
def test_an_arm_depends_on_its_own_training_alone(table, fields, same, base):
    def key(recipe, arm, ticket="a", seed=0, images="b"):
        plan = planning.plan(recipe, arm, Experiment(recipe).spec)
        return arm_key(recipe, plan, ticket, seed, {"images": images})

    other = changed(base, table, **fields)
    assert [arm for arm in base.compare.arms if key(base, arm) == key(other, arm)] == same
    keys = [key(base, "dense"), key(base, "dense", ticket="c"), key(base, "dense", seed=1)]
    assert len({*keys, key(base, "dense", images="c"), key(base, "dense-short")}) == 5


def test_another_seed_trains_anew(base, first, compare):
    _, taken = compare(changed(base, "compare", arms=("dense", "dense-short")), seed=1)
    assert taken == []


@pytest.mark.parametrize("damage", ["unfinished", "other machine", "other images", "no key", "no json"])
def test_what_is_not_whole_or_of_another_machine_is_passed_over(damage, base, first, compare):
    folder = first.arm(0, "dense")
    if damage == "unfinished":
        folder.ledger.unlink()
    elif damage == "no key":
        about = files.read_json(folder.record)
        del about["key"]
        files.write_json(folder.record, about)
    elif damage == "no json":
        files.write_text(folder.record, "[")
    elif damage == "other images":  # of the same named set, as a JPEG copy is
        inputs = files.read_json(first.inputs_file)
        files.write_json(first.inputs_file, {**inputs, "images": "0" * 16})
    else:
        files.write_json(first.machine_file, {**files.read_json(first.machine_file), "cpu": "an abacus"})
    second, taken = compare(changed(base, "compare", arms=("dense",)))
    assert taken == []
    assert arm_result(second, 0, "dense").history
