"""AutoAttack on the checkpoints of a run: what is run, what is done already, and who is on the frontier."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest
from training_case import same_state

from robust_tickets.attacks import APGD, FGSM, APGDTargeted, Ensemble
from robust_tickets.attacks.text import BUILDERS
from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.cli.main import main
from robust_tickets.comparison import compare as comparison
from robust_tickets.comparison.evaluation_cost import evaluation_passes, whole_passes
from robust_tickets.comparison.judge_front import front_tasks
from robust_tickets.data.dataset import SPECS
from robust_tickets.evaluation.sanity_checks import sanity_passes
from robust_tickets.recipe.fields import Compare
from robust_tickets.report.judge import front_checkpoints, judge
from robust_tickets.report.read import results
from robust_tickets.report.timing_text import markdown
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.stages import evaluate as stage
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training.checkpoint import Checkpoint

IMAGES = 20


def short_pair(threat):
    return Ensemble([APGD(threat, steps=2), APGDTargeted(threat, steps=1)], ("apgd-ce", "apgd-t"))


def short_whole(threat):
    pair = short_pair(threat)
    return Ensemble([*pair.attacks, FGSM(threat)], (*pair.names, "fgsm"))


@pytest.fixture(autouse=True, scope="module")
def short():
    """Few steps, and sanity checks that take no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUILDERS, "aa-apgd", short_pair)
        patch.setitem(BUILDERS, "autoattack", short_whole)
        yield


@pytest.fixture(scope="module")
def judged_recipe(tiny_recipe):
    return replace(tiny_recipe, evaluate=replace(tiny_recipe.evaluate, aa_images=IMAGES))


def rows_of(file):
    rows = pd.read_csv(file.with_name("robustness.csv"))
    return {(row.attack, row.n) for row in rows.itertuples() if not row.attack.startswith("worst-case")}


TABLE = {("clean", 50), ("fgsm", 50), ("pgd-20", 50)}
PAIR = {("clean", IMAGES), ("pgd-20", IMAGES), ("aa-apgd", IMAGES)}


@pytest.mark.usefixtures("no_sanity")
def test_a_checkpoint_is_judged_once(judged_recipe, tiny_recipe, new_copy, monkeypatch):
    file, experiment = new_copy("judged"), Experiment(judged_recipe)
    stage.evaluate(file, Experiment(tiny_recipe))
    assert rows_of(file) == TABLE
    stage.evaluate(file, experiment)
    assert rows_of(file) == TABLE | PAIR
    ledgers = [ArmDirectory(file.parent).evaluation_ledger(file, name) for name in ("evaluate", "judge")]
    assert all(ledger.is_file() for ledger in ledgers)
    stage.judge_whole(file, experiment)
    assert len(ArmDirectory(file.parent).all_sanity(file)) == 1, "no checks on the judge's images"
    assert rows_of(file) == TABLE | PAIR | {("autoattack", IMAGES)}
    monkeypatch.setattr(stage, "evaluate_file", None)
    stage.evaluate(file, experiment)
    stage.judge_whole(file, experiment)
    csv = file.with_name("robustness.csv")
    csv.write_text("".join(line for line in csv.read_text().splitlines(True) if ",aa-apgd," not in line))
    with pytest.raises(TypeError):  # which is not there
        stage.evaluate(file, experiment)


@pytest.mark.usefixtures("no_sanity")
def test_on_as_many_images_as_the_table_it_is_one_evaluation(judged_recipe, new_copy, monkeypatch):
    recipe = replace(judged_recipe, evaluate=replace(judged_recipe.evaluate, aa_images=50))
    file, real, calls = new_copy("one"), stage.evaluate_file, []
    monkeypatch.setattr(stage, "evaluate_file", lambda *args, **kw: calls.append(1) or real(*args, **kw))
    stage.evaluate(file, Experiment(recipe))
    stage.evaluate(file, Experiment(recipe))
    assert (rows_of(file), calls) == (TABLE | {("aa-apgd", 50)}, [1])


@pytest.mark.usefixtures("no_sanity")
def test_the_last_epoch_that_is_the_best_is_attacked_once(judged_recipe, new_copy, monkeypatch):
    best, experiment = new_copy("twins"), Experiment(judged_recipe)
    last = shutil.copy(best, best.with_name("last.safetensors"))
    stage.evaluate(best, experiment)
    monkeypatch.setattr(APGD, "_run", None)
    monkeypatch.setattr(FGSM, "_run", None)
    stage.evaluate(last, experiment)
    rows = pd.read_csv(best.with_name("robustness.csv")).drop(columns="seconds")
    one, two = (rows[rows.checkpoint == name].drop(columns="checkpoint") for name in ("best", "last"))
    pd.testing.assert_frame_equal(one.reset_index(drop=True), two.reset_index(drop=True))


@pytest.mark.usefixtures("no_sanity")
def test_arms_on_the_frontier_are_judged_by_the_whole(judged_recipe, machine, spoken, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "write_report", lambda run: None)  # which draws curves
    recipe = replace(
        judged_recipe,
        train=replace(judged_recipe.train, epochs=2, ticket_epochs=1, warmup=0.0, warmup_lr=0.0),
        compare=Compare(("dense", "dense-short", "dense-best")),
    )
    plain = replace(recipe, evaluate=replace(recipe.evaluate, aa_images=0))
    before = comparison.compare(Experiment(plain, machine=machine), [0], tmp_path)
    assert "aa-apgd" not in (before.arm(0, "dense").robustness).read_text()
    run = comparison.compare(Experiment(recipe, machine=Machine("cpu", spoken)), [0], tmp_path)
    assert sum(line.startswith("copied from") for line in spoken.lines) == 2, "it trains nothing again"
    states = [Checkpoint.load(each.arm(0, "dense").last).state for each in (before, run)]
    assert same_state(*states)
    by_arm = results(run)
    own_judge = judge(by_arm, recipe)
    front = front_checkpoints(by_arm, own_judge)
    off = replace(recipe, evaluate=replace(recipe.evaluate, aa_whole="off"))
    assert front_tasks(Experiment(off, machine=machine), run) == []
    assert ("dense-short", "last") in front, "nothing is cheaper"
    for arm, (result,) in by_arm.items():
        assert ("last", "aa-apgd") in result.accuracy
        assert (("last", "autoattack") in result.accuracy) == ((arm, "last") in front), arm
    assert len(front) < 3 or own_judge.attack == "autoattack"
    assert f"AutoAttack on {IMAGES} test images" in markdown(run)


def test_more_images_than_there_are_and_too_few_classes_are_refused(judged_recipe):
    digits = SPECS["digits"]
    planning.check(judged_recipe, digits)
    many = replace(judged_recipe, evaluate=replace(judged_recipe.evaluate, aa_images=digits.test_images + 1))
    with pytest.raises(InputError, match=r"evaluate.aa_images is \d+, but digits has \d+ test images"):
        planning.check(many, digits)
    few = replace(judged_recipe, evaluate=replace(judged_recipe.evaluate, aa_images=9))
    with pytest.raises(InputError, match=r"aa_images is 9, but digits has 10 classes, .*: give 10 or more"):
        planning.check(few, digits)
    planning.check(few, replace(digits, classes=9))
    message = "AutoAttack needs 4 classes and digits has 3: set it to 0, which leaves PGD-20"
    with pytest.raises(InputError, match=message):
        planning.check(judged_recipe, replace(digits, classes=3))
    planning.check(replace(many, evaluate=replace(many.evaluate, aa_images=0)), replace(digits, classes=3))


def test_the_estimate_counts_autoattack(judged_recipe, tiny_recipe, monkeypatch):
    judged, plain = Experiment(judged_recipe), Experiment(tiny_recipe)
    # clean, PGD-20, two steps of APGD, one step to each of nine classes after a look, each with a last look
    pair = 1 + 41 + (2 * 2 + 1) + (1 + 9 * 3)
    names = ("best", "last")
    assert evaluation_passes(judged, names) - evaluation_passes(plain, names) == 2 * IMAGES * pair
    last = replace(judged_recipe, evaluate=replace(judged_recipe.evaluate, aa_checkpoints=("last",)))
    assert evaluation_passes(Experiment(last), names) - evaluation_passes(plain, names) == IMAGES * pair
    assert whole_passes(judged) == IMAGES * FGSM(judged.threat).passes_per_sample
    assert whole_passes(plain) == 0
    off = replace(judged_recipe, evaluate=replace(judged_recipe.evaluate, aa_whole="off"))
    assert whole_passes(Experiment(off)) == 0


@pytest.mark.parametrize(
    ("wanted", "checked"),
    [("all", {"best", "last"}), ("best", {"best"}), ("last", {"last"}), ("off", set())],
)
def test_the_recipe_says_which_checkpoints_are_checked(tiny_recipe, wanted, checked):
    experiment = Experiment(replace(tiny_recipe, evaluate=replace(tiny_recipe.evaluate, sanity=wanted)))
    names = ("best", "last")
    requests = {name: stage.table_requests(experiment, name) for name in names}
    assert {name for name, (request,) in requests.items() if request.sanity} == checked
    table = len(names) * 50 * (1 + 3 + 41)  # clean, FGSM, PGD-20
    assert evaluation_passes(experiment, names) == table + len(checked) * sanity_passes(50)


@pytest.mark.usefixtures("no_sanity")
def test_a_checkpoint_that_the_recipe_leaves_out_is_attacked_by_pgd_alone(judged_recipe, new_copy):
    best = new_copy("left-out")
    last = shutil.copy(best, best.with_name("last.safetensors"))
    evaluate = replace(judged_recipe.evaluate, aa_checkpoints=("last",))
    recipe = replace(judged_recipe, evaluate=evaluate)
    stage.evaluate(best, Experiment(recipe))
    assert rows_of(best) == TABLE
    stage.evaluate(last, Experiment(recipe))
    assert rows_of(last) == TABLE | PAIR


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--evaluate.aa-images 20 --evaluate.aa-checkpoints best", "best lacks last, which tables"),
        (
            "--evaluate.aa-images 20 --evaluate.aa-checkpoints last last",
            "names a checkpoint twice: last last",
        ),
        ("--evaluate.aa-whole off", "aa_whole off does nothing without evaluate.aa_images"),
        ("--evaluate.aa-checkpoints last", "aa_checkpoints last does nothing without evaluate.aa_images"),
        (
            "--evaluate.aa-images 20 --evaluate.aa-checkpoints last --compare.arms dense dense-best",
            "dense-best is the best epoch of dense, which evaluate.aa_checkpoints leaves out: add best",
        ),
    ],
)
def test_checkpoints_that_make_no_sense_are_refused(flags, message, capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--recipe", "demo", "--dry-run", *flags.split()])
    assert message in " ".join(capsys.readouterr().err.split())
