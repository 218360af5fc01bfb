"""What a table says of the sanity checks of its checkpoints."""

import json

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.report.latex import latex
from robust_tickets.report.tables import markdown
from robust_tickets.report.trust import digest_of, kept_checks


def checks(run, arm, name, passed, **about):
    told = {"split": "test", "eps": "0.1", "norm": "Linf", "seed": 0, "n": 50} | about
    check = {"name": "noise hardly hurts", "figure": "9 %", "passed": passed, "otherwise": "so"}
    found = {"about": told, "checks": [check], "samples": 40}
    for seed in (0, 1):
        file = run.arm(seed, arm).path / f"sanity-{name}-{len(about):08x}.json"
        file.write_text(json.dumps(found))


def every(run):
    for arm in ("dense", "ticket"):
        for checkpoint in ("best", "last"):
            checks(run, arm, checkpoint, True)


def test_checks_of_other_weights_under_that_name_do_not_count(run):
    file = run.arm(0, "dense").best
    file.write_bytes(b"new weights")
    for told, counts in (("0" * 16, False), (digest_of(file), True)):
        checks(run, "dense", "best", True, checkpoint=told)
        assert bool(kept_checks(file, run.recipe.threat, 50)) is counts


def test_a_run_that_was_never_checked_says_nothing_of_it(run):
    assert "anity" not in markdown(run)


def test_all_passed_is_said_once(run):
    every(run)
    assert "Sanity checks of all checkpoints on 40 test images each: all passed." in markdown(run)


def test_a_checkpoint_without_checks_is_named(run):
    every(run)
    (run.arm(1, "dense").path / "sanity-last-00000000.json").unlink()
    expected = (
        "Sanity checks of all checkpoints but `dense` (seed 1, last) on 40 test images each: all passed."
    )
    assert expected in markdown(run)


def test_a_warning_names_arm_seed_checkpoint_and_figure(run):
    every(run)
    checks(run, "ticket", "last", False)
    expected = "all checkpoints on 40 test images each warn; these accuracies may mislead"
    for text in (markdown(run), latex(run)):
        assert expected in text
    assert "`ticket` (seed 0, last): noise hardly hurts: 9 %;" in markdown(run)


@pytest.mark.parametrize("other", [{"eps": "0.2"}, {"norm": "L2"}, {"split": "val"}, {"seed": 1}, {"n": 5}])
def test_checks_under_another_threat_model_or_on_other_images_are_not_the_tables(run, other):
    checks(run, "dense", "best", False, **other)
    assert "anity" not in markdown(run)


@pytest.mark.parametrize("content", ["[]", "{}", '{"about": 3}', "nonsense"])
def test_a_damaged_file_is_answered(run, content):
    file = run.arm(0, "dense").path / "sanity-best-00000000.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"sanity-best-00000000\.json.*evaluate again"):
        markdown(run)
