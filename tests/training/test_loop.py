"""The training loop against plain PyTorch, and what a mask does to it."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from attacks import PGD
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.progress import StageProgress
from robust_tickets.data.batches import batches
from robust_tickets.data.dataset import SPECS
from robust_tickets.models import fold, registry
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.methods import METHODS
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit
from robust_tickets.training.schedules import learning_rate
from robust_tickets.training.state import copy_state


def run(net, mask, data, config):
    ledger = Ledger("train")
    with ledger.measure():
        result = fit(net, mask, data, config, Session(ledger))
    return result, ledger


def equal(one, other):
    return list(one) == list(other) and all(torch.equal(one[k], other[k]) for k in one)


def half(net):
    mask = Mask.full(net)
    return prune(SCORES["magnitude-over-layer-mean"](prunable_weights(net), mask), mask, 0.5)


@pytest.fixture
def make_net(tiny_recipe):
    from robust_tickets.recipe.fields import Model
    from robust_tickets.stages.experiment import model_spec

    spec = model_spec(replace(tiny_recipe, model=Model("resnet20", width=0.5)), SPECS["digits"])
    return lambda: registry.build(spec, seed=0)


def test_all_ones_mask_trains_bit_for_bit_as_no_mask(make_net, tiny_data, config):
    dense, masked = make_net(), make_net()
    without, _ = run(dense, None, tiny_data, config)
    with_ones, _ = run(masked, Mask.full(masked), tiny_data, config)
    assert equal(without.last, with_ones.last)
    assert without.history == with_ones.history


def test_training_is_plain_pytorch(make_net, tiny_data, config):
    """The same steps by hand, without folding, give the same weights (in float64, to rounding)."""
    config = replace(config, compute=replace(config.compute, channels_last=False))
    ours, by_hand = make_net().double(), make_net().double()

    class Doubled(torch.nn.Module):
        """Batches are float32; the law is stated in float64."""

        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x.double())

    ours, by_hand = Doubled(ours), Doubled(by_hand)
    run(ours, None, tiny_data, config)
    settings = config.settings
    optimiser = torch.optim.SGD(
        by_hand.parameters(), lr=1.0, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    attack = PGD(config.threat, steps=2, step_size=0.5 * config.threat.eps)
    step = 0
    for epoch in (1, 2):
        stream = batches(tiny_data.train, tiny_data.spec, 32, seed=0, epoch=epoch, channels_last=False)
        for images, labels, ids in stream:
            adversarial = attack.run(by_hand, images, labels, sample_ids=ids, seed=epoch).images
            by_hand.train()
            optimiser.param_groups[0]["lr"] = learning_rate(settings, step, 8)
            optimiser.zero_grad()
            F.cross_entropy(by_hand(adversarial), labels).backward()
            optimiser.step()
            step += 1
    for name, value in copy_state(by_hand).items():
        torch.testing.assert_close(copy_state(ours)[name], value, rtol=1e-8, atol=1e-8, msg=name)


def test_pruned_entries_are_exactly_zero_after_every_step(make_net, tiny_data, config):
    net = make_net()
    mask = half(net)

    class Watch(StageProgress):
        steps = 0

        def advance(self, steps, passes):
            Watch.steps += 1
            for name, weight in prunable_weights(net).items():
                assert torch.all(weight[~mask[name]] == 0.0), name

    ledger = Ledger("train")
    with ledger.measure():
        fit(net, mask, tiny_data, config, Session(ledger, Watch()))
    assert Watch.steps == 8
    assert config.settings.momentum > 0
    assert config.settings.weight_decay > 0


def test_momentum_never_holds_a_pruned_weight(make_net, tiny_data, config, monkeypatch):
    net = make_net()
    mask = half(net)
    optimisers = []
    real = torch.optim.SGD.__init__
    monkeypatch.setattr(
        torch.optim.SGD, "__init__", lambda self, *a, **k: (optimisers.append(self), real(self, *a, **k))[1]
    )
    run(net, mask, tiny_data, config)
    for name, weight in prunable_weights(net).items():
        assert torch.all(optimisers[0].state[weight]["momentum_buffer"][~mask[name]] == 0.0), name


def test_a_filter_that_died_whole_sends_nothing_forward(make_net, tiny_data, config):
    net = make_net()
    entries = dict(Mask.full(net))
    entries["layer1.0.conv1.weight"] = entries["layer1.0.conv1.weight"].clone()
    entries["layer1.0.conv1.weight"][3] = False
    torch.nn.init.constant_(net.layer1[0].bn1.bias, 0.7)
    run(net, Mask(entries), tiny_data, config)
    assert net.layer1[0].bn1.weight[3] == 0.0
    assert net.layer1[0].bn1.bias[3] == 0.0
    assert net.layer1[0].bn1.bias[2] != 0.0


def test_same_seed_same_bits_and_another_seed_differs(make_net, tiny_data, config):
    first, _ = run(make_net(), None, tiny_data, config)
    second, _ = run(make_net(), None, tiny_data, config)
    other, _ = run(make_net(), None, tiny_data, replace(config, seed=1))
    assert equal(first.last, second.last)
    assert not equal(first.last, other.last)


def test_best_is_the_first_epoch_of_highest_robust_accuracy(make_net, tiny_data, config):
    result, _ = run(make_net(), None, tiny_data, replace(config, steps=16))
    robust = [record["val_robust"] for record in result.history]
    assert result.best_epoch == robust.index(max(robust)) + 1
    last_net = make_net()
    shorter, _ = run(last_net, None, tiny_data, replace(config, steps=16))
    assert equal(shorter.last, result.last)


@pytest.mark.parametrize("method", METHODS)
def test_ledger_counts_what_hooks_count(method, make_net, tiny_data, config, monkeypatch):
    """Passes at the callable that ran (for attacks the folded view); FLOPs as PyTorch's counter has them."""
    config = replace(config, settings=replace(config.settings, method=method), steps=4)
    net = make_net()
    samples = {"attack": 0, "update": 0, "validate": 0}
    forward = fold.FoldedNet.forward
    validating = []
    import robust_tickets.training.loop as loop

    validate = loop.validate

    def noted(*args):
        validating.append(1)
        result = validate(*args)
        validating.pop()
        return result

    def counted(self, images):
        samples["validate" if validating else "attack"] += len(images)
        return forward(self, images)

    monkeypatch.setattr(loop, "validate", noted)
    monkeypatch.setattr(fold.FoldedNet, "forward", counted)
    net.register_forward_hook(
        lambda module, args, out: (
            samples.__setitem__("update", samples["update"] + len(out)) if module.training else None
        )
    )
    _, ledger = run(net, None, tiny_data, config)
    steps = {"natural": 0, "fgsm": 1, "pgd": 2, "trades": 10, "nfgsm": 1}[method]
    clean, updates = (1, 2) if method == "trades" else (0, 1)  # TRADES asks for the clean logits too
    assert samples["attack"] == ledger.passes["attack"].forward == 128 * (steps + clean)
    assert samples["validate"] == ledger.passes["validate"].forward
    assert samples["update"] == ledger.passes["update"].forward == 128 * updates
    assert ledger.passes["update"].full_backward == 128 * updates
    assert ledger.passes["attack"].input_backward == 128 * steps
    image = torch.rand(1, 1, 8, 8)
    with FlopCounterMode(display=False) as counter:
        net.eval()(image)
    assert ledger.flops["update"] == 128 * 3 * updates * counter.get_total_flops()
    assert ledger.flops["attack"] == 128 * (2 * steps + clean) * counter.get_total_flops()
    assert ledger.charged_flops == ledger.flops["update"] + ledger.flops["attack"]


def test_a_training_that_diverges_says_so(make_net, tiny_data, config):
    wild = replace(config, settings=replace(config.settings, lr=1e30, method="natural"))
    with pytest.raises(InputError, match=r"diverged at step 1, .*lower the learning rate"):
        run(make_net(), None, tiny_data, wild)
