"""What a comparison has trained, it or another one takes over, if it is the same training, and whole."""

import shutil
from dataclasses import replace

import pytest
from training_case import same_state

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.comparison import compare as comparison
from robust_tickets.recipe.fields import Compare
from robust_tickets.report.read import arm_result
from robust_tickets.report.tables import timing
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
def trained(base, compare_quickly, tmp_path_factory):
    """The run directory of a comparison by the recipe."""
    return compare_quickly(Experiment(base), [0], tmp_path_factory.mktemp("trained"))


@pytest.fixture
def first(base, trained, tmp_path):
    """A copy of that run directory."""
    shutil.copytree(trained.path, tmp_path / "runs" / trained.path.name)
    return RunDirectory(tmp_path / "runs" / trained.path.name, base)


@pytest.fixture
def compare(compare_quickly, tmp_path, spoken):
    """Compare by a recipe: the run directory, and the arms that were taken over."""

    def run(recipe, seed=0, where="runs"):
        spoken.lines.clear()
        experiment = Experiment(recipe, machine=Machine("cpu", spoken))
        run = compare_quickly(experiment, [seed], tmp_path / where)
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


def cut(name):
    """Removes the last line of a file of the arm."""
    return lambda folder: shorten(folder / name)


def shorten(file):
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


LOSSES = {
    "gone is best": ("best.safetensors", lambda folder: (folder / "best.safetensors").unlink()),
    "gone is last": ("last.safetensors", lambda folder: (folder / "last.safetensors").unlink()),
    "cut is last": ("last.safetensors", lambda folder: halve(folder / "last.safetensors")),
    "gone is the record": ("arm.json", lambda folder: (folder / "arm.json").unlink()),
    "gone is an epoch": ("metrics.jsonl", cut("metrics.jsonl")),
    "gone are all epochs": ("metrics.jsonl", lambda folder: (folder / "metrics.jsonl").write_text("")),
    "gone is a validation": ("early.jsonl", cut("early.jsonl")),
}


def halve(file):
    file.write_bytes(file.read_bytes()[:-100])


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_finished_arm_that_has_lost_something_is_named_and_nothing_is_run(loss, base, first, compare):
    """It is the last arm, and the first is not finished: hours would be lost before it is looked at."""
    name, lose = LOSSES[loss]
    shutil.rmtree(first.arm(0, "ticket").path)
    folder = first.arm(0, "dense-short").path
    lose(folder)
    before = contents(first.path)
    with pytest.raises(InputError, match=rf"{name}.*remove {folder} and give the same command again"):
        compare(base)
    assert contents(first.path) == before


def test_removed_as_the_message_says_the_arm_is_trained_again(base, first, compare, trained):
    shutil.rmtree(first.arm(0, "dense-short").path)
    compare(base)
    assert same_state(*(Checkpoint.load(run.arm(0, "dense-short").last).state for run in (first, trained)))


def test_a_table_is_not_made_of_a_part_of_an_arm(base, first):
    for name in ("metrics.jsonl", "early.jsonl"):
        file = first.arm(0, "dense").path / name
        whole = file.read_text()
        shorten(file)
        with pytest.raises(InputError, match=f"{file} does not have every"):
            timing(first)
        file.write_text(whole)
    timing(first)


def test_a_finished_search_without_its_ticket_is_named(base, first, compare):
    first.search(0).ticket.unlink()
    with pytest.raises(InputError, match=rf"ticket\.safetensors is gone.*remove {first.search(0).ledger}"):
        compare(base)
    first.search(0).ledger.unlink()
    compare(base)
    assert first.search(0).ticket.is_file()


@pytest.mark.parametrize("change", [("lr = 0.1", "lr = 0.2"), ("format = 2", "format = 3"), ("format", "[")])
def test_a_recipe_that_somebody_changed_is_named(change, base, first, compare):
    whole = first.recipe_file.read_text()
    first.recipe_file.write_text(whole.replace(*change))
    before = contents(first.path)
    for call in (
        lambda: compare(base),
        lambda: comparison.train_from(Experiment(base), 0, first.path.parent, ticket=None),
        lambda: comparison.search(Experiment(base), 0, first.path.parent),
    ):
        with pytest.raises(InputError, match=rf"{first.recipe_file} is not the recipe.*remove that file"):
            call()
    assert contents(first.path) == before
    first.recipe_file.unlink()
    compare(base)
    assert first.recipe_file.read_text() == whole


@pytest.mark.parametrize(
    "damage", ["unfinished", "other machine", "several machines", "other images", "no key", "no json"]
)
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
        own = files.read_json(first.machine_file)
        other = {**own, "cpu": "an abacus"}
        files.write_json(
            first.machine_file, other if damage == "other machine" else {**own, "others": [other]}
        )
    second, taken = compare(changed(base, "compare", arms=("dense",)))
    assert taken == []
    assert arm_result(second, 0, "dense").history


def test_an_arm_that_is_not_whole_is_passed_over_aloud(base, first, compare, spoken):
    first.arm(0, "dense").best.unlink()
    second, taken = compare(changed(base, "compare", arms=("dense",)))
    assert taken == []
    assert second.arm(0, "dense").best.is_file()
    assert [line for line in spoken.lines if line.startswith("passed over: ") and "best.safetensors" in line]
