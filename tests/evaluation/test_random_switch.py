"""Networks switched at random: their average, and who may know what."""

import math

import pytest
import torch
from scipy import stats
from scipy.special import log_softmax, logsumexp
from torch import nn

from robust_tickets.attacks import ThreatModel
from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import Split
from robust_tickets.evaluation.evaluate import EvaluationConfig, evaluate
from robust_tickets.evaluation.random_switch import EXPECTED, OTHER, OWN, WORST, ExpectedNet, switch_rows

CONFIG = EvaluationConfig(ThreatModel("Linf", 0.25), batch=4)


class OnePixel(nn.Module):
    """Class 1 where one pixel is above one half; only that pixel has a gradient."""

    def __init__(self, pixel, slope=8.0):
        super().__init__()
        self.pixel, self.slope = pixel, slope

    def forward(self, images):
        value = self.slope * (images.flatten(1)[:, self.pixel] - 0.5)
        return torch.stack([-value, value], 1)


def split(value, n=6):
    """Images of class 1, all of whose pixels have a value."""
    images = torch.full((n, 1, 2, 2), round(255 * value), dtype=torch.uint8)
    return Split(images, torch.ones(n, dtype=torch.int64), torch.arange(n))


def accuracies(*arguments):
    return {row.attacked: row.accuracy for row in switch_rows(*arguments)}


def test_the_average_has_the_mean_probabilities():
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Flatten(), nn.Linear(4, 3, dtype=torch.float64)) for _ in range(3)]
    images = torch.rand(5, 1, 2, 2, dtype=torch.float64)
    logits = ExpectedNet(nets)(images).detach()
    logs = [log_softmax(net(images).detach().numpy(), axis=1) for net in nets]
    assert logits.numpy() == pytest.approx(logsumexp(logs, axis=0) - math.log(3), abs=1e-12)
    assert logits.exp().sum(1).numpy() == pytest.approx(1)


def test_images_made_on_another_network_show_nothing_of_what_the_networks_withstand():
    nets = [OnePixel(number) for number in range(4)]
    found = accuracies(nets, split(0.7), ["pgd-20"], CONFIG)
    # each network looks at a pixel of its own, which the attack on another one leaves about where it was
    assert found == {"": 1, OWN: 0, OTHER: pytest.approx(1, abs=0.2), EXPECTED: 0, WORST: 0}


def test_who_knows_more_breaks_more():
    torch.manual_seed(2)
    nets = [nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(3)]
    images = torch.randint(0, 256, (96, 1, 2, 2), dtype=torch.uint8)
    labels = ExpectedNet(nets)(images / 255).argmax(1)
    samples = Split(images, labels, torch.arange(96))
    config = EvaluationConfig(ThreatModel("Linf", 0.1), batch=32)
    found = accuracies(nets, samples, ["fgsm", "pgd-20"], config)
    assert found[OWN] <= found[WORST] <= found[EXPECTED] < found[""]
    assert found[OWN] < found[OTHER] < found[""]
    for attack in ("fgsm", "pgd-20"):
        alone = accuracies(nets, samples, [attack], config)
        assert all(found[name] <= alone[name] for name in (OWN, OTHER, EXPECTED, WORST)), attack


def test_the_share_of_networks_counts():
    # two of three look at pixel 0, and the third is right whatever is done
    always = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        always[1].weight.zero_()
        always[1].bias.copy_(torch.tensor([-1.0, 1.0]))
    rows = switch_rows([OnePixel(0), OnePixel(0), always], split(0.7), ["pgd-20"], CONFIG)
    found = {row.attacked: row for row in rows}
    assert found[WORST].accuracy == found[EXPECTED].accuracy == found[OWN].accuracy == pytest.approx(1 / 3)
    assert found[WORST].low == found[WORST].high == pytest.approx(1 / 3), "no image differs from another"


def test_of_one_network_twice_every_row_is_its_own_robustness():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    images = torch.randint(0, 256, (64, 1, 2, 2), dtype=torch.uint8)
    labels = net(images / 255).argmax(1)
    labels[::7] = 0  # some are wrong as they are
    samples = Split(images, labels, torch.arange(64))
    config = EvaluationConfig(ThreatModel("Linf", 0.05), batch=16)
    clean, attacked = evaluate(net, samples, ["pgd-20"], config)
    found = accuracies([net, net], samples, ["pgd-20"], config)
    assert found[""] == pytest.approx(clean.accuracy)
    for name in (OWN, OTHER, EXPECTED, WORST):
        assert found[name] == pytest.approx(attacked.accuracy), name
    assert 0 < attacked.accuracy < clean.accuracy


class NotBetween(nn.Module):
    """Class 1 where the first pixel is further than 0.1 from 0.45."""

    def forward(self, images):
        value = (images.flatten(1)[:, 0] - 0.45).abs() - 0.1
        return torch.stack([-value, value], 1)


def test_what_is_wrong_as_it_is_stays_wrong():
    # the step of FGSM leads across the hollow, to where the networks are right
    found = accuracies([NotBetween(), NotBetween()], split(0.46), ["fgsm"], CONFIG)
    assert found == {"": 0, OWN: 0, OTHER: 0, EXPECTED: 0, WORST: 0}


def test_members_of_an_ensemble_count_one_by_one():
    torch.manual_seed(3)
    nets = [nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 5)) for _ in range(3)]
    images = torch.randint(0, 256, (48, 1, 2, 2), dtype=torch.uint8)
    samples = Split(images, ExpectedNet(nets)(images / 255).argmax(1), torch.arange(48))
    config = EvaluationConfig(ThreatModel("Linf", 0.1), batch=16)
    pair = accuracies(nets, samples, ["aa-apgd"], config)
    assert pair == accuracies(nets, samples, ["apgd", "apgd-t"], config)
    assert pair[WORST] < pair[""]


@pytest.mark.parametrize(("label", "right"), [(1, 12), (0, 0)])
def test_all_or_none_of_a_few_images_do_not_prove_all_or_none(label, right):
    samples = Split(split(0.9, 12).images, torch.full((12,), label), torch.arange(12))
    row = switch_rows([OnePixel(0), OnePixel(0)], samples, ["pgd-20"], CONFIG)[0]
    wilson = stats.binomtest(right, 12).proportion_ci(method="wilson")
    assert (row.accuracy, row.low, row.high) == pytest.approx((right / 12, wilson.low, wilson.high))


def test_clean_images_alone_are_refused():
    with pytest.raises(InputError, match="switch needs an attack"):
        switch_rows([OnePixel(0), OnePixel(0)], split(0.9), ["clean"], CONFIG)


def test_the_interval_is_that_of_a_mean_over_images():
    images = torch.cat([split(0.7).images, split(0.9, 6).images])
    samples = Split(images, torch.ones(12, dtype=torch.int64), torch.arange(12))
    rows = switch_rows([OnePixel(0), OnePixel(0)], samples, ["pgd-20"], CONFIG)
    row = rows[-1]
    assert row.accuracy == 0.5
    half = 1.959964 * math.sqrt(0.25 * 12 / 11) / math.sqrt(12)
    assert (row.low, row.high) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-5)


def test_an_unknown_attack_is_refused_before_any_is_run():
    lines = []
    with pytest.raises(InputError, match="pgdd"):
        switch_rows([OnePixel(0), OnePixel(1)], split(0.7), ["pgd-20", "pgdd"], CONFIG, lines.append)
    assert lines == []
