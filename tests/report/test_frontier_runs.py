"""The candidates of a frontier come from runs that can be compared."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.eps import Eps
from robust_tickets.report.frontier_answers import Question
from robust_tickets.report.frontier_runs import read_frontier
from robust_tickets.report.frontier_table import frontier_markdown
from robust_tickets.report.timing_text import markdown
from robust_tickets.runs import files
from robust_tickets.runs.directory import RunDirectory


@pytest.fixture
def another(run, tmp_path):
    """Copies the run as one of another recipe: sections of it are given as they are to be."""

    def copy(folder="other", **sections):
        recipe = replace(run.recipe, **sections)
        other = RunDirectory.of(tmp_path / folder, recipe)
        shutil.copytree(run.path, other.path)
        other.recipe_file.unlink()
        other.write_recipe()
        return other

    return copy


def change(run, arm, file, **values):
    for seed in run.seeds():
        path = getattr(run.arm(seed, arm), file)
        path.write_text(json.dumps(json.loads(path.read_text()) | values))


def add_rows(run, arm, source, more, **columns):
    """Give an arm rows like those of a checkpoint, or of its PGD-20, with an accuracy of so much more."""
    for seed in run.seeds():
        file = run.arm(seed, arm).robustness
        rows = pd.read_csv(file, keep_default_na=False)
        like = rows[(rows.checkpoint == source) & ((rows.attack == "pgd-20") | ("attack" not in columns))]
        extra = like.assign(accuracy=like.accuracy + more, **columns)
        pd.concat([rows, extra]).to_csv(file, index=False)


def add_average(run, arm):
    """Give an arm averaged weights, a tenth more accurate than those of the last epoch."""
    change(run, arm, "record", best_is_average=False)
    add_rows(run, arm, "last", 0.1, checkpoint="average")


def add_autoattack(run, another, whole=()):
    """The run with AutoAttack's two members on 20 images for all rows, and the whole of it for some."""
    judged = another(f"whole-{len(whole)}", evaluate=replace(run.recipe.evaluate, aa_images=20))
    for arm in ("dense", "ticket"):
        for checkpoint in ("best", "last", *(["average"] if arm == "ticket" else [])):
            add_rows(judged, arm, checkpoint, -0.01, attack="aa-apgd", n=20)
            if (arm, checkpoint) in whole:
                add_rows(judged, arm, checkpoint, -0.02, attack="autoattack", n=20)
    return judged


def test_costs_are_all_that_is_charged_and_accuracy_is_the_last_epochs(run, robust):
    frontier = read_frontier([run])
    dense, ticket = frontier.candidates
    assert (dense.name, dense.flops, dense.seconds) == ("dense", (100, 100), (10, 10))
    assert (ticket.name, ticket.flops, ticket.seconds) == ("ticket", (80, 80), (8, 8))  # search included
    assert ticket.robust == pytest.approx([accuracy - 0.05 for accuracy in robust["ticket"]])
    assert ticket.clean == pytest.approx([accuracy + 0.3 for accuracy in robust["ticket"]])
    assert (frontier.seeds, frontier.images, frontier.judge.attack) == ((0, 1), 50, "pgd-20")
    assert frontier.title == "made up, lenet-300-100 at width 0.2, Linf 0.1, seeds 0, 1"


def test_averaged_weights_are_a_candidate_of_the_same_cost(run):
    add_average(run, "ticket")
    frontier = read_frontier([run])
    assert [c.name for c in frontier.candidates] == ["dense", "ticket", "ticket (average)"]
    average = frontier["ticket (average)"]
    assert average.flops == frontier["ticket"].flops
    assert average.robust == pytest.approx([x + 0.1 for x in frontier["ticket"].robust])
    names = {
        ("last",): ["dense", "ticket"],
        ("best",): ["dense (best)", "ticket (best)"],
        ("average",): ["ticket (average)"],
    }
    for weights, expected in names.items():
        assert [c.name for c in read_frontier([run], weights).candidates] == expected
    assert read_frontier([run], ["best"]).reference("dense").name == "dense (best)"


def test_weights_that_no_arm_has_are_refused(run):
    message = (
        r"no arm of .* was evaluated under PGD-20 with weights average: choose last or best by --weights$"
    )
    for asked in (["average"], ["last", "best", "average"]):
        with pytest.raises(InputError, match=message):
            read_frontier([run], asked)
    assert len(read_frontier([run]).candidates) == 2, "which nobody asked for"


def test_seeds_that_are_left_out_are_named(run):
    both = read_frontier([run])
    assert both.remarks == ""
    run.arm(1, "ticket").ledger.unlink()
    one = read_frontier([run])
    assert one.seeds == (0,)
    assert one.remarks.startswith("Left out, until `compare` completes it: seed 1 (there is no ")
    assert str(run.arm(1, "ticket").ledger) in one.remarks
    assert one.remarks in frontier_markdown(one, Question())
    assert one.remarks in markdown(run)
    run.arm(0, "dense").robustness.unlink()
    with pytest.raises(InputError, match=r"no seed .*: run compare; seed 0: there is no .*dense.*; seed 1: "):
        read_frontier([run])


def test_an_arm_that_another_run_has_copied_is_there_once(run, another):
    other = another(train=replace(run.recipe.train, ticket_epochs=1))
    change(other, "ticket", "ledger", charged_flops=20)
    frontier = read_frontier([run, other, run])
    assert [(c.name, c.flops[0]) for c in frontier.candidates] == [
        ("dense", 100),
        (f"ticket ({run.path.name})", 80),
        (f"ticket ({other.path.name})", 50),
    ]
    assert frontier.reference("ticket").flops[0] == 80


def test_runs_of_the_same_name_are_told_apart_by_their_paths(run, another):
    other = another()
    change(other, "ticket", "ledger", charged_flops=20)
    names = [candidate.name for candidate in read_frontier([run, other]).candidates]
    assert names == ["dense", f"ticket ({run.path})", f"ticket ({other.path})"]


def test_the_seeds_are_those_of_all_runs(run, another):
    other = another(train=replace(run.recipe.train, ticket_epochs=1))
    change(other, "ticket", "ledger", charged_flops=20)
    other.arm(0, "ticket").ledger.unlink()
    frontier = read_frontier([run, other])
    assert frontier.seeds == (1,)
    assert f"Of {run.path}, seed 0 is left out, as not all runs have it." in frontier.remarks
    assert frontier["dense"].robust == pytest.approx([0.29])
    shutil.rmtree(run.path / "seed-1")
    with pytest.raises(InputError, match=f"{run.path} and {other.path} share no complete seed: run compare"):
        read_frontier([run, other])


def test_runs_that_trained_on_other_numbers_of_images_say_so(run, another):
    other = another(data=replace(run.recipe.data, train_images=100))
    change(other, "ticket", "ledger", charged_flops=20)
    own = run.recipe.data.train_images or "all"
    assert read_frontier([run, other]).remarks == (
        f"They trained on different numbers of images: {run.path.name} on {own}, {other.path.name} on 100."
    )
    assert read_frontier([run]).remarks == ""


def test_autoattack_judges_where_every_candidate_has_it(run, another):
    add_average(run, "ticket")
    last = [("dense", "last"), ("ticket", "last")]
    pair, short, full = (
        add_autoattack(run, another, whole) for whole in ([], last, [*last, ("ticket", "average")])
    )
    pgd = read_frontier([run])
    for runs, attack, less in (
        ([pair], "aa-apgd", 0.01),
        ([short], "aa-apgd", 0.01),  # the average lacks the whole
        ([full], "autoattack", 0.02),
        ([full, pair], "aa-apgd", 0.01),  # what both have
    ):
        frontier = read_frontier(runs)
        assert (frontier.judge.attack, frontier.images) == (attack, 20)
        assert [candidate.name for candidate in frontier.candidates] == [
            "dense",
            "ticket",
            "ticket (average)",
        ]
        for one, other in zip(frontier.candidates, pgd.candidates, strict=True):
            assert one.robust == pytest.approx([x - less for x in other.robust])
    with pytest.raises(InputError, match=r"different attacks to judge them \(PGD-20; AA\)"):
        read_frontier([run, full])


DIFFERENCES = {
    "threat models": ("threat", {"eps": Eps("0.2")}, r"\(Linf 0\.1; Linf 0\.2\)"),
    "networks": ("model", {"width": 0.4}, r"\(lenet-300-100 at width 0\.2; lenet-300-100 at width 0\.4\)"),
    "numbers of test images": ("evaluate", {"images": 40}, r"\(50; 40\)"),
    "step sizes of PGD-20": ("evaluate", {"rel_step": 0.5}, r"\(0\.25 of eps; 0\.5 of eps\)"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_runs_with_another_yardstick_are_refused_with_both_values(name, run, another):
    section, values, shown = DIFFERENCES[name]
    other = another(**{section: replace(getattr(run.recipe, section), **values)})
    for file in other.path.rglob("robustness.csv"):  # whole for that recipe
        table = files.read_csv(file, ("checkpoint", "split", "attack", "eps", "norm", "source"))
        table = table.assign(eps=str(other.recipe.threat.eps), n=other.recipe.evaluate.images)
        table.to_csv(file, index=False)
    with pytest.raises(InputError, match=f"have different {name} {shown} and cannot share a frontier"):
        read_frontier([run, other])


def test_runs_on_other_images_are_refused(run, another):
    other = another()
    for arm in ("dense", "ticket"):
        change(other, arm, "record", fingerprint="g")
    with pytest.raises(
        InputError, match=r"different data \(made up, fingerprint f; made up, fingerprint g\)"
    ):
        read_frontier([run, other])


def test_runs_of_other_networks_of_ones_own_are_refused(run, another):
    other = another()
    files.write_json(run.inputs_file, {"net": "a"})
    files.write_json(other.inputs_file, {"net": "b"})
    with pytest.raises(InputError, match=r"have different networks \(lenet-300-100 at width 0\.2 a; .* b\)"):
        read_frontier([run, other])


@pytest.mark.parametrize("values", [{"cpu": "an abacus"}, {"threads": 64}])
def test_seconds_of_another_machine_are_left_out_and_flops_stand(values, run, another):
    other = another()
    change(other, "ticket", "ledger", charged_flops=20)
    assert read_frontier([run, other]).candidates[-1].seconds == (8, 8)
    files.write_json(other.machine_file, files.read_json(other.machine_file) | values)
    assert [(c.seconds, c.flops) for c in read_frontier([run, other]).candidates] == [
        ((10, 10), (100, 100)),
        ((8, 8), (80, 80)),
        ((), (50, 50)),  # dense is that of the first run
    ]


def test_seconds_of_a_run_on_several_machines_are_marked(run):
    own = files.read_json(run.machine_file)
    files.write_json(run.machine_file, {**own, "others": [{**own, "cpu": "an abacus"}]})
    change(run, "ticket", "ledger", jobs=2)
    assert [c.marks for c in read_frontier([run]).candidates] == ["‡", "†‡"]
