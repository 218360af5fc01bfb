"""The project on a simulated GPU: the CPU's bits, all on the right device, no wait in a training step."""

import pytest
from device_mistakes import MISTAKES
from device_parts import METHODS, PRUNING_METHODS, WRAPPERS

EPOCHS = 2
STEPS = 6
TRAININGS = [f"train-{name}" for name in (*METHODS, *WRAPPERS, "averaged")]
SEARCHES = [f"search-{name}" for name in PRUNING_METHODS]
MORE = [
    "train-L2",
    "train-adam",
    "train-muon",
    "train-resumed",
    "train-averaged-resumed",
    "compare",
    "channels",
    "controls",
    "from-python",
    "attacks-Linf",
    "attacks-L2",
    "ensemble",
    "export",
    "plan",
]
WITHOUT_FLOAT64 = ["train-pgd", "search-imp", "channels", "attacks-Linf", "attacks-L2"]
COPIES = 3  # of an epoch's order, crops and flips, before its first step


@pytest.fixture(scope="module")
def outcomes(work):
    """What all fast parts did, in one process."""
    return work(
        *TRAININGS,
        "train-bf16",
        "train-watched",
        *SEARCHES,
        "quick-attack",
        *(f"mistake: {name}" for name in MISTAKES),
    )


@pytest.mark.parametrize("part", [*TRAININGS, *SEARCHES, "quick-attack"])
def test_it_gives_the_bits_of_the_cpu(part, outcomes):
    assert outcomes[part].error == ""
    assert outcomes[part].differences == []


@pytest.mark.parametrize("part", [*(name for name in TRAININGS if name != "train-bullet"), "train-bf16"])
def test_no_training_step_waits_for_the_device(part, outcomes):
    assert outcomes[part].error == ""
    assert outcomes[part].lines == []
    assert outcomes[part].waits["train data"] == COPIES * EPOCHS


def test_a_step_that_packs_images_waits_once_for_the_sizes_of_its_groups(outcomes):
    outcome = outcomes["train-bullet"]
    assert outcome.waits["train attack"] == STEPS
    assert outcome.waits.get("train update", 0) == 0


def test_a_training_that_acts_on_a_collapse_looks_for_one_once_in_ten_steps(outcomes):
    outcome = outcomes["train-watched"]
    assert outcome.error == ""
    assert outcome.waits["train attack"] == -(-STEPS // 10)


@pytest.mark.parametrize("part", SEARCHES)
def test_no_step_of_a_search_waits_for_the_device(part, outcomes):
    assert outcomes[part].lines == []


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_seen(name, outcomes):
    outcome = outcomes[f"mistake: {name}"]
    assert (bool(outcome.error), bool(outcome.lines), bool(outcome.differences)) == {
        "a tensor made on the host": (True, False, False),
        "a generator of the host": (True, False, False),
        "numpy of a tensor": (True, False, False),
        "an unseeded device": (False, False, True),
        "a division by a number": (False, False, True),
    }.get(name, (False, True, False))


@pytest.fixture(scope="module")
def more_outcomes(work):
    """What slower parts did, in one process."""
    return work(*MORE)


@pytest.fixture(scope="module")
def outcomes_without_float64(work):
    """What parts did on a device without float64, in one process."""
    return work(*WITHOUT_FLOAT64, without_float64=True)


@pytest.mark.slow
@pytest.mark.parametrize("part", MORE)
def test_more_work_gives_the_bits_of_the_cpu(part, more_outcomes):
    outcome = more_outcomes[part]
    assert outcome.error == ""
    assert outcome.differences == []
    assert outcome.lines == []


@pytest.mark.slow
@pytest.mark.parametrize("part", WITHOUT_FLOAT64)
def test_a_device_without_float64_gives_them_too(part, outcomes_without_float64):
    outcome = outcomes_without_float64[part]
    assert outcome.error == ""
    assert outcome.differences == []
