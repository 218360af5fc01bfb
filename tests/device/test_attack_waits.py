"""How often an attack of an evaluation waits for the device: once a step at most."""

import pytest
from device_attacks import ATTACKS, PHASE, STEPS

MORE = STEPS["long"] - STEPS["short"]


@pytest.fixture(scope="module")
def waits(work):
    """The waits of each attack, by its name, length and whether broken samples leave."""
    names = [f"{name} {length} {end}" for name in ATTACKS for length in STEPS for end in ("stop", "go on")]
    outcomes = work(*names, *(f"planted {length}" for length in STEPS))
    assert all(outcome.error == "" and outcome.differences == [] for outcome in outcomes.values())
    return {name: outcome.waits[PHASE] for name, outcome in outcomes.items()}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_step_waits_once_for_all_its_blocks_where_broken_samples_leave(name, waits):
    assert waits[f"{name} long stop"] - waits[f"{name} short stop"] == MORE


@pytest.mark.parametrize("name", ATTACKS)
def test_no_step_waits_where_all_samples_go_on(name, waits):
    long, short = waits[f"{name} long go on"], waits[f"{name} short go on"]
    assert long == short <= 3  # images, labels, and the checks of all logits


def test_a_wait_in_each_step_is_seen(waits):
    assert waits["planted long"] - waits["planted short"] == MORE
