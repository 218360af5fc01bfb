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
from robust_tickets.pruning.mask import Mask, prunable
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.methods import METHODS
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit
from robust_tickets.training.schedules import learning_rate
from robust_tickets.training.state import copy_state


def run(net, mask, data, how):
    ledger = Ledger("train")
    with ledger.measure():
        fitted = fit(net, mask, data, how, Session(ledger))
    return fitted, ledger


def equal(one, other):
    return list(one) == list(other) and all(torch.equal(one[k], other[k]) for k in one)


def half(net):
    mask = Mask.full(net)
    return prune(SCORES["magnitude-over-layer-mean"](prunable(net), mask), mask, 0.5)


@pytest.fixture
def twin(tiny_recipe):
    from robust_tickets.recipe.fields import Model
    from robust_tickets.stages.experiment import model_spec

    spec = model_spec(replace(tiny_recipe, model=Model("resnet20", width=0.5)), SPECS["digits"])
    return lambda: registry.build(spec, seed=0)


def test_all_ones_mask_trains_bit_for_bit_as_no_mask(twin, tiny_data, how):
    dense, masked = twin(), twin()
    without, _ = run(dense, None, tiny_data, how)
    with_ones, _ = run(masked, Mask.full(masked), tiny_data, how)
    assert equal(without.last, with_ones.last)
    assert without.history == with_ones.history


def test_training_is_plain_pytorch(twin, tiny_data, how):
    """The same steps by hand, without folding, give the same weights (in float64, to rounding)."""
    how = replace(how, compute=replace(how.compute, channels_last=False))
    ours, by_hand = twin().double(), twin().double()

    class Doubled(torch.nn.Module):
        """Batches are float32; the law is stated in float64."""

        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x.double())

    ours, by_hand = Doubled(ours), Doubled(by_hand)
    run(ours, None, tiny_data, how)
    settings = how.settings
    optimiser = torch.optim.SGD(
        by_hand.parameters(), lr=1.0, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    attack = PGD(how.threat, steps=2, step_size=0.5 * how.threat.eps)
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


def test_pruned_entries_are_exactly_zero_after_every_step(twin, tiny_data, how):
    net = twin()
    mask = half(net)

    class Watch(StageProgress):
        steps = 0

        def advance(self, steps, passes):
            Watch.steps += 1
            for name, weight in prunable(net).items():
                assert torch.all(weight[~mask[name]] == 0.0), name

    ledger = Ledger("train")
    with ledger.measure():
        fit(net, mask, tiny_data, how, Session(ledger, Watch()))
    assert Watch.steps == 8
    assert how.settings.momentum > 0
    assert how.settings.weight_decay > 0


def test_momentum_never_holds_a_pruned_weight(twin, tiny_data, how, monkeypatch):
    net = twin()
    mask = half(net)
    optimisers = []
    real = torch.optim.SGD.__init__
    monkeypatch.setattr(
        torch.optim.SGD, "__init__", lambda self, *a, **k: (optimisers.append(self), real(self, *a, **k))[1]
    )
    run(net, mask, tiny_data, how)
    for name, weight in prunable(net).items():
        assert torch.all(optimisers[0].state[weight]["momentum_buffer"][~mask[name]] == 0.0), name


def test_a_filter_that_died_whole_sends_nothing_forward(twin, tiny_data, how):
    net = twin()
    kept = dict(Mask.full(net))
    kept["layer1.0.conv1.weight"] = kept["layer1.0.conv1.weight"].clone()
    kept["layer1.0.conv1.weight"][3] = False
    torch.nn.init.constant_(net.layer1[0].bn1.bias, 0.7)
    run(net, Mask(kept), tiny_data, how)
    assert net.layer1[0].bn1.weight[3] == 0.0
    assert net.layer1[0].bn1.bias[3] == 0.0
    assert net.layer1[0].bn1.bias[2] != 0.0


def test_same_seed_same_bits_and_another_seed_differs(twin, tiny_data, how):
    first, _ = run(twin(), None, tiny_data, how)
    again, _ = run(twin(), None, tiny_data, how)
    other, _ = run(twin(), None, tiny_data, replace(how, seed=1))
    assert equal(first.last, again.last)
    assert not equal(first.last, other.last)


def test_best_is_the_first_epoch_of_highest_robust_accuracy(twin, tiny_data, how):
    fitted, _ = run(twin(), None, tiny_data, replace(how, steps=16))
    robust = [record["val_robust"] for record in fitted.history]
    assert fitted.best_epoch == robust.index(max(robust)) + 1
    last_net = twin()
    shorter, _ = run(last_net, None, tiny_data, replace(how, steps=16))
    assert equal(shorter.last, fitted.last)


@pytest.mark.parametrize("method", METHODS)
def test_ledger_counts_what_hooks_count(method, twin, tiny_data, how, monkeypatch):
    """Passes at the callable that ran (for attacks the folded view); FLOPs as PyTorch's counter has them."""
    how = replace(how, settings=replace(how.settings, method=method), steps=4)
    net = twin()
    seen = {"attack": 0, "update": 0, "look": 0}
    forward = fold.FoldedNet.forward
    looking = []
    import robust_tickets.training.loop as loop

    validate = loop.validate

    def quiet(*args):
        looking.append(1)
        result = validate(*args)
        looking.pop()
        return result

    def counted(self, images):
        seen["look" if looking else "attack"] += len(images)
        return forward(self, images)

    monkeypatch.setattr(loop, "validate", quiet)
    monkeypatch.setattr(fold.FoldedNet, "forward", counted)
    net.register_forward_hook(
        lambda module, args, out: (
            seen.__setitem__("update", seen["update"] + len(out)) if module.training else None
        )
    )
    _, ledger = run(net, None, tiny_data, how)
    steps = {"natural": 0, "fgsm": 1, "pgd": 2, "trades": 10, "nfgsm": 1}[method]
    clean, updates = (1, 2) if method == "trades" else (0, 1)  # TRADES asks for the clean logits too
    assert seen["attack"] == ledger.passes["attack"].forward == 128 * (steps + clean)
    assert seen["look"] == ledger.passes["validate"].forward
    assert seen["update"] == ledger.passes["update"].forward == 128 * updates
    assert ledger.passes["update"].full_backward == 128 * updates
    assert ledger.passes["attack"].input_backward == 128 * steps
    image = torch.rand(1, 1, 8, 8)
    with FlopCounterMode(display=False) as counter:
        net.eval()(image)
    assert ledger.flops["update"] == 128 * 3 * updates * counter.get_total_flops()
    assert ledger.flops["attack"] == 128 * (2 * steps + clean) * counter.get_total_flops()
    assert ledger.charged_flops == ledger.flops["update"] + ledger.flops["attack"]


def test_a_training_that_diverges_says_so(twin, tiny_data, how):
    wild = replace(how, settings=replace(how.settings, lr=1e30, method="natural"))
    with pytest.raises(InputError, match=r"diverged at step 1, .*lower the learning rate"):
        run(twin(), None, tiny_data, wild)
