"""What a table says of the warnings of its trainings, and of the sanity checks of its checkpoints."""

import json

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.evaluation.sanity_files import file_digest, table_reports
from robust_tickets.report.latex import latex
from robust_tickets.report.tables import markdown


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


def test_checks_of_other_weights_under_that_name_do_not_count(run):
    file = run.arm(0, "dense").best
    file.write_bytes(b"new weights")
    for digest, counts in (("0" * 16, False), (file_digest(file), True)):
        write_checks(run, "dense", "best", True, checkpoint=digest)
        assert bool(table_reports(file, run.recipe.threat, 50)) is counts


def test_a_run_that_was_never_checked_says_nothing_of_checks(run):
    assert "anity" not in markdown(run)


def test_all_passed_is_said_once(checked):
    assert "Sanity checks of all checkpoints on 40 test images each: all passed." in markdown(checked)


def test_a_checkpoint_without_checks_is_named(checked):
    (checked.arm(1, "dense").path / "sanity-last-00000000.json").unlink()
    sentence = (
        "Sanity checks of all checkpoints but `dense` (seed 1, last) on 40 test images each: all passed."
    )
    assert sentence in markdown(checked)


def test_a_warning_names_arm_seed_checkpoint_and_figure(checked):
    write_checks(checked, "ticket", "last", False)
    sentence = "all checkpoints on 40 test images each warn; these accuracies may mislead"
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
