"""What a table says of the sanity checks of its checkpoints."""

import json

import pytest

from robust_tickets.errors import InputError
from robust_tickets.report import latex, markdown


def checks(run, arm, checkpoint, passed, **about):
    told = {"split": "test", "eps": "0.1", "norm": "Linf", "seed": 0} | about
    check = {"name": "noise hardly hurts", "figure": "9 %", "passed": passed, "otherwise": "so"}
    found = {"about": told, "checks": [check], "samples": 40}
    digest = f"{abs(hash(tuple(told.items()))):08x}"[:8]
    (run.arm(0, arm) / f"sanity-{checkpoint}-{digest}.json").write_text(json.dumps(found))


def test_a_run_that_was_never_checked_says_nothing_of_it(run):
    assert "anity" not in markdown(run)


def test_all_passed_is_said_once(run):
    for arm in ("dense", "ticket"):
        for checkpoint in ("best", "last"):
            checks(run, arm, checkpoint, True)
    assert "Sanity checks of 4 checkpoints on 40 test images each: all passed." in markdown(run)


def test_a_warning_names_arm_seed_checkpoint_and_figure(run):
    checks(run, "dense", "best", True)
    checks(run, "ticket", "last", False)
    expected = "2 checkpoints on 40 test images each warn; these accuracies may mislead"
    for text in (markdown(run), latex(run)):
        assert expected in text
    assert "`ticket` (seed 0, last): noise hardly hurts: 9 %." in markdown(run)


@pytest.mark.parametrize("other", [{"eps": "0.2"}, {"norm": "L2"}, {"split": "val"}, {"seed": 1}])
def test_checks_under_another_threat_model_or_on_other_images_are_not_the_tables(run, other):
    checks(run, "dense", "best", False, **other)
    assert "anity" not in markdown(run)


@pytest.mark.parametrize("content", ["[]", "{}", '{"about": 3}', "nonsense"])
def test_a_damaged_file_is_answered(run, content):
    file = run.arm(0, "dense") / "sanity-best-00000000.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"sanity-best-00000000\.json.*evaluate again"):
        markdown(run)
