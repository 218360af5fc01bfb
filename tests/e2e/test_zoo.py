"""Networks as people have them go through every stage, or are refused in words; nothing else happens."""

import pytest

from benchmarks.zoo import STAGES, outcomes
from benchmarks.zoo_networks import NETWORKS

# stages that refuse a network, each with a part of the reason
REFUSED = {
    ("spectral norm by hooks", "search: weights"): "use torch.nn.utils.parametrizations for spectral",
    ("weight norm by hooks", "search: weights"): "use torch.nn.utils.parametrizations for spectral",
}
QUICK = {"complex parameter"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
)
def test_a_network_goes_through_or_is_refused(name):
    results = outcomes(NETWORKS[name])
    assert not {stage: text for stage, text in results.items() if text.startswith("FAULT")}
    reason = REFUSED.get((name, STAGES[0]))
    if reason:
        assert reason in results[STAGES[0]]
    else:
        assert [results[stage] for stage in STAGES[:2]] == ["yes", "yes"]
        assert results["evaluation"] == "yes"
