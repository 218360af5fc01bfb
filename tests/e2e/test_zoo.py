"""Networks as people have them go through every stage, or are refused in words, as the table says."""

import re

import pytest

from benchmarks.zoo import STAGES, outcomes
from benchmarks.zoo_networks import NETWORKS, REFUSALS

TRAININGS = {"training": "search: weights", "training of channels": "search: channels"}
"""A training is not tried where the search before it is refused."""
QUICK = {"complex parameter", "weight norm"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
)
def test_each_stage_has_the_outcome_of_the_table(name):
    results, refusals = outcomes(NETWORKS[name]), REFUSALS.get(name, {})
    expected = {
        stage: refusals.get(stage, "yes") for stage in STAGES if TRAININGS.get(stage, "") not in refusals
    }
    assert results.keys() == expected.keys()
    for stage, outcome in expected.items():
        if outcome == "yes":
            assert results[stage] == "yes", stage
        else:
            assert outcome in results[stage], stage
            # one line, and no exception's class in it
            assert "\n" not in results[stage]
            assert not re.search(r"FAULT|\w+(Error|Exception)\b", results[stage])


def test_the_table_is_of_these_networks():
    assert set(REFUSALS) <= set(NETWORKS)
    assert {stage for refusals in REFUSALS.values() for stage in refusals} <= set(STAGES)
