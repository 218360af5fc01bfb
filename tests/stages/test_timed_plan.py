"""Lengths that follow from a timing: it is taken once, the steps are fixed, and no clock changes them."""

import shutil
from dataclasses import replace

import pytest

from robust_tickets import api
from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.comparison.compare import compare, tasks, train_from
from robust_tickets.comparison.estimate import estimate
from robust_tickets.comparison.executors.choose import choose_executor
from robust_tickets.comparison.jobs import ArmJob
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.budget import Budget
from robust_tickets.recipe.fields import Compare
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json, write_json
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.step_lengths import TicketCost
from robust_tickets.studies.study import forecast, study
from robust_tickets.training.checkpointer import Checkpointer

STEP = 32 * 7  # passes' cost of a step of PGD-2
EACH_STEP = Machine("cpu", SilentProgress(), checkpoint_minutes=0, checkpoint_steps=1)


@pytest.fixture
def timing(monkeypatch):
    """Seconds of a step on this machine, as the next timings find them; and which trainings were timed."""

    class Timing:
        step = 1.0
        timed = []  # noqa: RUF012

    def found(experiment, training, ticket):
        Timing.timed.append((training.method, ticket))
        return Timing.step / STEP

    Timing.timed.clear()
    monkeypatch.setattr("robust_tickets.stages.arm_rates.own_pass_seconds", found)
    rate = "robust_tickets.comparison.estimated_rates.training_pass_seconds"
    monkeypatch.setattr(rate, lambda experiment, training, flops: Timing.step / STEP)
    monkeypatch.setattr("robust_tickets.comparison.jobs.evaluate", lambda checkpoint, experiment: None)
    return Timing


@pytest.fixture
def recipe(tiny_recipe):
    """Ten seconds for dense, six for the ticket; a search of one step."""
    return replace(
        tiny_recipe,
        search=replace(tiny_recipe.search, rounds=1, iterations=1),
        train=replace(tiny_recipe.train, budget=Budget("10s"), ticket_budget=Budget("0.1min")),
    )


def with_arms(recipe, *arms):
    return replace(recipe, compare=Compare(arms))


def job(recipe, arm, runs, **machine):
    experiment = Experiment(recipe, machine=replace(EACH_STEP, **machine))
    return ArmJob(experiment, 0, RunDirectory.of(runs, recipe), arm)


def steps_of(folder):
    """Those that were fixed, and those that were taken."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return read_json(folder / "length.json")["steps"], int(
        lines[-1].partition('"step": ')[2].partition(",")[0]
    )


def test_the_steps_are_those_that_fit_by_the_timing_of_the_arm_s_own_training(recipe, timing, tmp_path):
    timing.step = 1.25
    assert steps_of(job(recipe, "dense", tmp_path).do()) == (8, 8)
    assert timing.timed == [("pgd", None)]
    timing.step = 2.0
    assert steps_of(job(recipe, "ticket", tmp_path).do()) == (3, 3)
    assert timing.timed[1][1] is not None


def test_a_training_that_was_killed_resumes_with_the_same_steps_on_a_slower_clock(
    recipe, timing, tmp_path, monkeypatch
):
    class KilledError(BaseException):
        """Stands for kill -9."""

    save = Checkpointer.save

    def dying(self, step, state):
        save(self, step, state)
        if step == 5:
            raise KilledError

    whole = job(recipe, "dense", tmp_path / "whole").do()
    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "save", dying)
        with pytest.raises(KilledError):
            job(recipe, "dense", tmp_path / "killed").do()
    timing.step = 3.0
    resumed = job(recipe, "dense", tmp_path / "killed").do()
    assert steps_of(resumed) == steps_of(whole) == (10, 10)
    assert len(timing.timed) == 2
    for name in ("metrics.jsonl", "last.safetensors"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()
    assert job(recipe, "dense", tmp_path / "killed").do() == resumed  # already done


def test_an_arm_beside_is_copied_with_its_steps_whatever_the_clock_says(recipe, timing, tmp_path, spoken):
    one = job(recipe, "dense", tmp_path).do()
    timing.step = 3.0
    other = job(with_arms(recipe, "dense"), "dense", tmp_path, progress=spoken).do()
    assert steps_of(one) == steps_of(other) == (10, 10)
    assert len(timing.timed) == 1
    assert any(line.startswith("copied from") for line in spoken.lines)
    longer = replace(recipe, train=replace(recipe.train, budget=Budget("12s")))
    assert steps_of(job(longer, "dense", tmp_path).do()) == (4, 4)


def test_the_training_from_a_file_has_its_steps_in_its_own_folder(recipe, timing, tmp_path):
    ticket = job(recipe, "ticket", tmp_path).do().parent / "search" / "ticket.safetensors"
    other = replace(recipe, search=replace(recipe.search, lr=0.05))
    folder = train_from(Experiment(other), 0, tmp_path, ticket)
    assert folder.name.startswith("ticket-")
    assert steps_of(folder) == (6, 6)


def test_in_memory_the_steps_are_timed_too(recipe, timing):
    timing.step = 2.5
    assert api.train(recipe=recipe).history.step.iloc[-1] == 4


def test_a_finished_arm_without_its_steps_and_damaged_ones_are_named(recipe, timing, tmp_path):
    folder = job(recipe, "dense", tmp_path).do()
    for content in ({"steps": 0}, {"steps": 2.5}, {}):
        write_json(folder / "length.json", content)
        with pytest.raises(InputError, match=r"length\.json.*remove .*dense and give the same command"):
            job(recipe, "dense", tmp_path).do()
    (folder / "length.json").unlink()
    with pytest.raises(InputError, match=r"is finished, but length\.json is gone: .*remove"):
        job(recipe, "dense", tmp_path).do()
    shutil.rmtree(folder)
    assert steps_of(job(recipe, "dense", tmp_path).do()) == (10, 10)


def test_what_is_too_short_is_refused_with_the_seconds_of_a_step_before_anything_is_run(
    recipe, timing, tmp_path
):
    timing.step = 7.0
    experiment = Experiment(recipe)
    for call in (lambda: compare(experiment, [0], tmp_path), lambda: estimate(experiment, 1)):
        with pytest.raises(
            InputError, match=r"0\.1min is shorter than one step of dense-short, which takes about 7s on this"
        ):
            call()
    assert not list(tmp_path.rglob("seed-*"))


def test_the_estimate_has_as_many_steps_as_fit_by_the_rate(recipe, timing):
    timing.step = 1.25
    rows = estimate(Experiment(with_arms(recipe, "dense", "ticket", "dense-equal-seconds")), 1).rows
    rows = rows.set_index("arm")
    assert dict(rows.epochs) | {"dense": "2", "ticket": "1"} == dict(rows.epochs)
    assert rows.estimated_seconds["dense"] == 10
    # as long as search and ticket cost: a step of FGSM and four of PGD-2
    assert rows.passes["dense-equal-seconds"] == 5 * 32 * 6


@pytest.mark.parametrize("arm", ["dense", "dense-equal-seconds"])
def test_several_jobs_at_a_time_are_refused(arm, recipe, timing, tiny_recipe, tmp_path):
    base = recipe if arm == "dense" else tiny_recipe
    experiment = Experiment(with_arms(base, "dense", "ticket", "dense-equal-seconds"))
    with pytest.raises(InputError, match=rf"the length of {arm} follows from seconds .*: leave out --jobs"):
        compare(experiment, [0], tmp_path, choose_executor(2))
    with pytest.raises(InputError, match=rf"the length of {arm} follows from seconds .*: leave out --jobs"):
        estimate(experiment, 1, jobs=2)
    if arm == "dense":
        with pytest.raises(
            InputError, match=r"leave out --jobs and --executor, or give budgets in passes or FLOPs"
        ):
            study("lr", experiment, [0], tmp_path, choose_executor(2))
        with pytest.raises(
            InputError, match=r"leave out --jobs and --executor, or give budgets in passes or FLOPs"
        ):
            forecast("lr", experiment, 1, jobs=2)
    assert not list(tmp_path.rglob("seed-*"))


@pytest.mark.parametrize("seconds", [9.9, 10.0, 10.1])
def test_equal_seconds_is_the_fewest_steps_that_take_at_least_as_long(seconds, tiny_recipe):
    class Rates:
        flops, pass_seconds = 1000, 2.0 / STEP

    cost = TicketCost(10**9, 500, 1000, seconds=seconds)
    steps = planning.plan(tiny_recipe, "dense-equal-seconds", SPECS["digits"], cost, Rates()).steps
    assert steps == (6 if seconds > 10 else 5)


@pytest.fixture
def followed(tiny_recipe):
    """A recipe with arms that follow the ticket."""
    search = replace(tiny_recipe.search, rounds=1, iterations=1)
    recipe = replace(tiny_recipe, search=search, train=replace(tiny_recipe.train, ticket_epochs=1))
    return with_arms(recipe, "dense-equal-seconds", "dense", "ticket")


def test_equal_seconds_follows_the_ledgers_of_search_and_ticket(followed, timing, tmp_path):
    """The ticket's arm is trained first, and its seconds and the timed ones decide."""
    timing.step = 0.05
    folder = job(followed, "dense-equal-seconds", tmp_path).do()
    run = RunDirectory.of(tmp_path, followed)
    ledgers = (read_json(run.arm(0, arm).ledger) for arm in ("search", "ticket"))
    seconds = sum(ledger["charged_seconds"] for ledger in ledgers)
    fixed, taken = steps_of(folder)
    assert fixed == taken
    assert (fixed - 1) * 0.05 < seconds <= fixed * 0.05 * (1 + 1e-9)
    assert timing.timed == [("pgd", None)]
    timing.step = 1e-9
    assert job(followed, "dense-equal-seconds", tmp_path).do() == folder


@pytest.fixture
def begun(followed, timing, tmp_path):
    """The run directory after the ticket's arm."""
    job(followed, "ticket", tmp_path).do()
    return RunDirectory.of(tmp_path, followed)


@pytest.mark.parametrize("stage", ["search", "ticket"])
def test_seconds_taken_beside_other_jobs_are_refused(stage, begun, followed, tmp_path):
    ledger = begun.arm(0, stage).ledger
    write_json(ledger, {**read_json(ledger), "jobs": 2})
    with pytest.raises(
        InputError, match=rf"seconds of .*/{stage} were taken while other jobs ran: remove it"
    ):
        job(followed, "dense-equal-seconds", tmp_path).do()


@pytest.mark.parametrize("others", [True, False], ids=["continued there", "begun there"])
def test_seconds_of_another_machine_are_refused_before_anything_is_run(others, begun, followed, tmp_path):
    own = read_json(begun.machine_file)
    other = {**own, "cpu": "an abacus"}
    write_json(begun.machine_file, {**own, "others": [other]} if others else other)
    experiment = Experiment(followed, machine=replace(EACH_STEP, any_machine=True))
    with pytest.raises(
        InputError, match=r"dense-equal-seconds takes the seconds of the ticket on one machine"
    ):
        compare(experiment, [0], tmp_path)
    assert not begun.arm(0, "dense").path.exists()


def test_dense_at_equal_cost_follows_a_ticket_whose_length_was_timed(recipe, timing, tmp_path):
    recipe = with_arms(recipe, "dense", "dense-equal-cost", "ticket")
    job(recipe, "ticket", tmp_path).do()
    timing.step = 3.0  # by which the ticket would have got two
    folder = job(recipe, "dense-equal-cost", tmp_path).do()
    # a step of FGSM costs 5 a sample, and the ticket got six of PGD-2, which cost 7
    assert steps_of(folder) == (7, 7) == (-(-(5 + 6 * 7) // 7),) * 2


def test_arms_that_follow_the_ticket_s_arm_come_after_it(recipe, followed, tmp_path):
    for each, last in ((followed, "dense-equal-seconds"), (recipe, "dense-equal-cost")):
        arms = ("dense", last, "dense-narrow-flops", "ticket")
        planned = tasks(Experiment(with_arms(each, *arms)), [0], RunDirectory.of(tmp_path, each))
        names = [task.name.partition(",")[0] for task in planned]
        assert names == ["search", "dense-narrow-flops", "ticket", "dense", last]
        assert [task.after for task in planned] == [(), (0,), (0,), (), (0, 2)]


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("dense-equal-seconds", "takes the seconds of the arm ticket: add that"),
        ("dense-equal-cost", "follows the ticket, whose length is timed: add the arm ticket"),
    ],
)
def test_without_the_ticket_s_arm_those_that_follow_it_are_refused(arm, message, recipe):
    with pytest.raises(InputError, match=rf"compare\.arms {arm} {message}"):
        recipes.check(with_arms(recipe, "dense", arm))
    recipes.check(with_arms(recipe, "dense", "ticket", arm))
