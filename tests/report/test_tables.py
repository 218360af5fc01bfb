"""Tables of a made-up run directory, against numpy, and the warnings and sanity checks under them."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine_load import slowdown_warning
from robust_tickets.evaluation.sanity_files import file_digest, table_reports
from robust_tickets.report.pictures.curves import CURVES
from robust_tickets.report.read import missing_part
from robust_tickets.report.tables import timing
from robust_tickets.report.timing_text import csv, latex, markdown
from robust_tickets.runs import files


def test_means_and_sample_deviations(run, robust):
    table = timing(run).set_index("arm")
    for arm, values in robust.items():
        assert table.pgd20_mean[arm] == pytest.approx(np.mean(values))
        assert table.pgd20_sd[arm] == pytest.approx(np.std(values, ddof=1))
        assert table.pgd20_last_mean[arm] == pytest.approx(np.mean(values) - 0.05)
    assert table.total_flops["ticket"] == 80
    assert table.flops_vs_dense["ticket"] == pytest.approx(0.8)
    assert table.total_s["ticket"] == pytest.approx(3 + 5)
    assert table.seconds_vs_dense["ticket"] == pytest.approx(0.8)
    assert table.pgd20_vs_dense["ticket"] == pytest.approx(
        np.mean(robust["ticket"]) - np.mean(robust["dense"])
    )


def test_one_seed_has_no_deviation(run):
    run.arm(1, "ticket").ledger.unlink()
    table = timing(run)
    assert (table.seeds == 1).all(), "a seed that lacks an arm counts for none"
    assert table.pgd20_sd.isna().all()
    first = csv(run).splitlines()[1].split(",")
    assert first[6] == ""
    assert "no spread is known" in markdown(run)


def test_an_arm_evaluated_on_fewer_images_is_not_complete(run):
    for seed in (0, 1):
        file = run.arm(seed, "dense").robustness
        file.write_text(file.read_text().replace(",50,", ",30,"))
    with pytest.raises(InputError, match=r"no seed in .* has all of dense, ticket"):
        timing(run)


def test_the_same_results_draw_the_same_bytes(run):
    assert CURVES.image(run) == CURVES.image(run)
    assert b"ticket" in CURVES.image(run)


DAMAGE = {
    "no JSON lines": ("dense/metrics.jsonl", "{", "[1", r"cannot read .*metrics\.jsonl"),
    "no table": ("dense/robustness.csv", "checkpoint,", "", r"cannot read .*robustness\.csv"),
    "no JSON object": ("search/ledger.json", "{", "[1, 2] #{", "cannot read"),
    "a record without its images": (
        "dense/arm.json",
        "fingerprint",
        "print",
        r"arm\.json lacks 'fingerprint'",
    ),
    "an old record": ("dense/arm.json", "steps_per_epoch", "x", r"arm\.json lacks 'steps_per_epoch'"),
    "a ledger without seconds": ("dense/ledger.json", "charged_s", "s", "lacks 'charged_seconds'"),
    "an epoch without steps": ("dense/metrics.jsonl", "step", "x", "has a record without 'step'"),
    "an accuracy above 1": ("dense/robustness.csv", ",0.6,", ",7.0,", "an accuracy of 7, which is no frac"),
    "an accuracy below 0": ("dense/robustness.csv", ",0.6,", ",-0.1,", "an accuracy of -0.1"),
    "negative seconds": ("dense/ledger.json", '_seconds": ', '_seconds": -', "for charged_seconds"),
    "passes as text": ("dense/ledger.json", ": 200", ': "x"', "'x' for charged_passes"),
    "no number": ("ticket/ledger.json", ": 50", ": NaN", "nan for charged_flops"),
    "another arm": ("dense/arm.json", '"arm": "dense"', '"arm": "ticket"', "is of the arm ticket"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_file_is_named_with_the_reason(case, run):
    name, old, new, message = DAMAGE[case]
    file = run.arm(0, "dense").path.parent / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message) as error:
        timing(run)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("content", ["{}", "[]", "3", '{"cpu": "x"}'])
def test_a_damaged_description_of_the_machine_is_named(content, run):
    run.machine_file.write_text(content)
    with pytest.raises(InputError, match=r"env\.json .*remove that file and run compare again"):
        markdown(run)


@pytest.mark.parametrize(
    "name", ["arm.json", "ledger.json", "metrics.jsonl", "early.jsonl", "robustness.csv"]
)
def test_the_missing_file_of_an_arm_is_named(name, run):
    assert missing_part(run, 0, "ticket") == ""
    file = run.arm(0, "ticket").path / name
    file.unlink()
    assert missing_part(run, 0, "ticket") == f"there is no {file}"


def test_seconds_taken_beside_other_jobs_are_marked(run):
    for seed in (0, 1):
        ledger = run.search(seed).ledger
        ledger.write_text(json.dumps(json.loads(ledger.read_text()) | {"jobs": 3}))
    assert list(timing(run).jobs) == [1, 3]
    assert "† Taken while up to 3 jobs ran at a time." in markdown(run)
    assert "8.0†" in markdown(run)


def test_seconds_of_several_machines_are_marked_and_flops_stand(run):
    before = timing(run)
    assert list(before.machines) == [1, 1]
    own = files.read_json(run.machine_file)
    files.write_json(run.machine_file, {**own, "others": [{**own, "cpu": "an abacus"}]})
    after = timing(run)
    assert list(after.machines) == [2, 2]
    assert list(after.total_flops) == list(before.total_flops)
    text = markdown(run)
    assert "‡ The run was continued on another machine (an abacus)" in text
    assert text.count("| 8.0‡ |") == 1
    assert text.count("‡ |") == 8  # four columns of seconds, two arms
    assert len(re.findall(r"[\d.]+‡ of (the|its) seconds", text)) == 2  # under the table


def write_checks(run, arm, name, passed, **about):
    context = {"split": "test", "eps": "0.1", "norm": "Linf", "seed": 0, "n": 50} | about
    check = {"name": "noise hardly hurts", "figure": "9 %", "passed": passed, "otherwise": "so"}
    report = {"about": context, "checks": [check], "samples": 40, "passes": {"forward": 9}}
    for seed in (0, 1):
        file = run.arm(seed, arm).path / f"sanity-{name}-{len(about):08x}.json"
        file.write_text(json.dumps(report))


@pytest.fixture
def checked(run):
    for arm in ("dense", "ticket"):
        for checkpoint in ("best", "last"):
            write_checks(run, arm, checkpoint, True)
    return run


def test_a_warning_of_several_trainings_is_said_once(run):
    for seed, arm in ((0, "search"), (1, "ticket")):
        ledger = run.arm(seed, arm).ledger
        ledger.write_text(json.dumps(json.loads(ledger.read_text()) | {"warnings": ["it diverged"]}))
    assert "**Watch out.** `search` (seed 0), `ticket` (seed 1): it diverged." in markdown(run)


def test_slow_epochs_are_one_sentence_whatever_their_number(run):
    for arm, times in (("search", (1.6, 2.1)), ("ticket", (1.9,))):
        ledger = run.arm(0, arm).ledger
        warnings = [f"round 1, epoch {n}: {slowdown_warning(each)}" for n, each in enumerate(times)]
        ledger.write_text(json.dumps(json.loads(ledger.read_text()) | {"warnings": warnings}))
    said = (
        "`search` (seed 0), `ticket` (seed 0): the machine slowed down: a step took up to 2.1 times as long"
    )
    assert f"**Watch out.** {said} as before." in markdown(run)


def test_checks_of_other_weights_under_that_name_do_not_count(run):
    file = run.arm(0, "dense").best
    file.write_bytes(b"new weights")
    for digest, counts in (("0" * 16, False), (file_digest(file), True)):
        write_checks(run, "dense", "best", True, checkpoint=digest)
        assert bool(table_reports(file, run.recipe.threat, 50)) is counts


def test_a_run_that_was_never_checked_says_nothing_of_checks(run):
    assert "anity" not in markdown(run)


def test_all_passed_is_said_once(checked):
    assert "Sanity checks of all checkpoints (40 test images each): all passed." in markdown(checked)


def test_a_checkpoint_without_checks_is_named(checked):
    (checked.arm(1, "dense").path / "sanity-last-00000000.json").unlink()
    sentence = (
        "Sanity checks of all checkpoints but `dense` (seed 1, last) (40 test images each): all passed."
    )
    assert sentence in markdown(checked)


def test_checkpoints_that_the_recipe_leaves_unchecked_are_not_named(checked):
    (checked.arm(1, "dense").path / "sanity-last-00000000.json").unlink()
    evaluate = replace(checked.recipe.evaluate, sanity="best")
    write_checks(checked, "ticket", "last", False)  # as an arm that was copied from another run may have
    some = replace(checked, recipe=replace(checked.recipe, evaluate=evaluate))
    assert "Sanity checks of all best checkpoints (40 test images each): all passed." in markdown(some)
    off = replace(checked.recipe, evaluate=replace(evaluate, sanity="off"))
    assert "No sanity checks were asked for" in markdown(replace(checked, recipe=off))


def test_a_warning_names_arm_seed_checkpoint_and_figure(checked):
    write_checks(checked, "ticket", "last", False)
    sentence = "all checkpoints (40 test images each) warn; these accuracies may mislead"
    for text in (markdown(checked), latex(checked)):
        assert sentence in text
    assert "`ticket` (seed 0, last): noise hardly hurts: 9 %;" in markdown(checked)


@pytest.mark.parametrize("other", [{"eps": "0.2"}, {"norm": "L2"}, {"split": "val"}, {"seed": 1}, {"n": 5}])
def test_checks_under_another_threat_model_or_on_other_images_do_not_count(run, other):
    write_checks(run, "dense", "best", False, **other)
    assert "anity" not in markdown(run)


@pytest.mark.parametrize("content", ["[]", "{}", '{"about": 3, "checks": [], "samples": 1}', "nonsense"])
def test_a_damaged_report_is_named(run, content):
    (run.arm(0, "dense").path / "sanity-best-00000000.json").write_text(content)
    with pytest.raises(InputError, match=r"sanity-best-00000000\.json.*evaluate again"):
        markdown(run)
