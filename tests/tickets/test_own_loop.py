"""A ticket in a training loop of the user's own: exact zeros, the bits of our loop, any optimiser."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_case import half_mask, same_state, train

from robust_tickets import Ticket, attack_view, attacks, keep_sparse
from robust_tickets.attacks import PGD, ThreatModel
from robust_tickets.base.errors import InputError
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.mask import Mask
from robust_tickets.training.schedules import learning_rate
from robust_tickets.training.training_batches import training_batches

MODEL = ModelSpec("own", 1.0, (1, 8, 8), 10, (0.0,), (1.0,))
IMAGES = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(32) % 10
OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": lambda p: torch.optim.Adam(p, 1e-2, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-3, momentum=0.9),
    "lbfgs": lambda p: torch.optim.LBFGS(p, 0.1, max_iter=3),
}


def ticket_of(net: nn.Module, mask: Mask) -> Ticket:
    return Ticket(MODEL, copy_state(net), mask, {"search": {}}, "", 0, 0, 0)


def without_channels(net: nn.Module) -> Mask:
    """A mask that removes half the channels of each block, and a tenth of the other weights."""
    mask = dict(half_mask(net, 0.1))
    for name in mask:
        if name.endswith("conv1.weight") and "layer" in name:
            mask[name] = mask[name].clone()
            mask[name][::2] = False
    return Mask(mask)


@pytest.fixture
def ticket(conv_net) -> Ticket:
    return ticket_of(conv_net, half_mask(conv_net))


def pruned_values(net: nn.Module, mask: Mask) -> torch.Tensor:
    parameters = dict(net.named_parameters())
    return torch.cat([parameters[name].detach()[~entries] for name, entries in mask.items()])


def steps(net: nn.Module, optimiser: torch.optim.Optimizer, count: int = 4) -> None:
    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(net(IMAGES), LABELS)
        loss.backward()
        return loss

    for _ in range(count):
        optimiser.step(closure)


def test_the_init_is_rewound_and_pruned(ticket, conv_net):
    other = copy.deepcopy(conv_net)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    assert ticket.apply(other) is other  # no channel is dead
    for name, entries in ticket.mask.items():
        assert torch.equal(other.state_dict()[name], torch.where(entries, ticket.init[name], 0.0))


def test_a_network_without_dead_channels_is_the_same_function(conv_net):
    ticket = ticket_of(conv_net, without_channels(conv_net))
    whole = ticket.apply(copy.deepcopy(conv_net), compact=False).eval()
    small = ticket.apply(copy.deepcopy(conv_net)).eval()
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in whole.parameters())
    torch.testing.assert_close(small(IMAGES), whole(IMAGES))


@pytest.mark.parametrize("dead", [False, True], ids=["weights", "channels"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_pruned_weights_stay_exactly_zero(optimiser, dead, conv_net):
    ticket = ticket_of(conv_net, without_channels(conv_net) if dead else half_mask(conv_net))
    net = ticket.apply(copy.deepcopy(conv_net))
    zeros = {name: p.detach() == 0 for name, p in net.named_parameters() if p.ndim > 1}
    before = copy_state(net)
    optimiser = OPTIMISERS[optimiser](net.parameters())
    hooks = keep_sparse(net, ticket, optimiser)
    steps(net, optimiser)
    hooks.check()
    for name, entries in zeros.items():
        value = net.get_parameter(name).detach()
        assert not value[entries].any()
        assert not torch.equal(value, before[name])  # it was trained
        for memory in optimiser.state[net.get_parameter(name)].values():
            if isinstance(memory, torch.Tensor) and memory.shape == value.shape:
                assert not memory[entries].any()
    assert hooks.zeros >= sum(int(entries.sum()) for entries in zeros.values())


@pytest.mark.parametrize("method", ["natural", "pgd"])
def test_a_loop_of_one_s_own_gives_the_bits_of_ours(method, conv_net, ticket, tiny_data, config):
    settings = replace(config.settings, method=method, momentum=0.9, weight_decay=5e-4)
    config = replace(config, settings=settings, steps=8)
    net = ticket.apply(copy.deepcopy(conv_net)).train()
    optimiser = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    view = attack_view(net)
    attack = PGD(config.threat, steps=2, rel_step=0.5)
    with keep_sparse(net, ticket, optimiser):
        for batch in (
            b for epoch in (1, 2) for b in training_batches(tiny_data, config, epoch, 4 * epoch - 4)
        ):
            images = batch.images
            if method == "pgd":
                images = attack.run(view, images, batch.labels, sample_ids=batch.ids, seed=batch.seed).images
            optimiser.param_groups[0]["lr"] = learning_rate(settings, batch.step.number, config.steps)
            optimiser.zero_grad()
            F.cross_entropy(net(images), batch.labels).backward()
            optimiser.step()
    result, _ = train(conv_net, ticket.mask, tiny_data, config)
    assert result.last["layer1.0.conv1.weight"].count_nonzero() > 0
    assert same_state(copy_state(net), result.last)


def test_accumulated_scaled_and_grouped_gradients(ticket, conv_net):
    net = ticket.apply(conv_net)
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": 0.1}, {"params": others, "lr": 0.2}]
    optimiser = torch.optim.SGD(groups, 0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu")
    hooks = keep_sparse(net, ticket, optimiser)
    for _ in range(3):
        for part in range(2):
            loss = F.cross_entropy(net(IMAGES[part::2]), LABELS[part::2])
            scaler.scale(loss).backward()
        scaler.unscale_(optimiser)
        hooks.mask_gradients()
        grads = [p.grad for p in net.parameters()]
        norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        assert torch.isfinite(norm)
        assert grads[0] is not None
        scaler.step(optimiser)
        scaler.update()
        optimiser.zero_grad()
    hooks.check()
    assert not pruned_values(net, ticket.mask).any()


def test_a_clipped_norm_leaves_pruned_weights_out(ticket, conv_net):
    net = ticket.apply(conv_net)
    hooks = keep_sparse(net, ticket, torch.optim.SGD(net.parameters(), 0.1))
    F.cross_entropy(net(IMAGES), LABELS).backward()
    hooks.mask_gradients()
    kept = [p.grad[ticket.mask[n]] if n in ticket.mask else p.grad for n, p in net.named_parameters()]
    expected = torch.cat([g.flatten() for g in kept]).norm()
    torch.testing.assert_close(nn.utils.clip_grad_norm_(net.parameters(), 1e9), expected)


def test_the_hooks_can_be_removed(ticket, conv_net):
    net = ticket.apply(conv_net)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    with keep_sparse(net, ticket, optimiser) as hooks:
        steps(net, optimiser, 1)
        assert not pruned_values(net, ticket.mask).any()
    steps(net, optimiser, 1)
    assert pruned_values(net, ticket.mask).any()
    with pytest.raises(InputError, match="pruned weights are no longer zero"):
        hooks.check()


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_wrapped_networks_are_known(wrap, conv_net):
    ticket = ticket_of(conv_net, without_channels(conv_net))
    net = ticket.apply(conv_net)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    zeros = keep_sparse(net, ticket, optimiser).zeros
    assert keep_sparse(wrap(net), ticket, optimiser).zeros == zeros > 0


def test_an_optimiser_of_the_network_before_is_refused(conv_net):
    ticket = ticket_of(conv_net, without_channels(conv_net))
    optimiser = torch.optim.SGD(conv_net.parameters(), 0.1)
    net = ticket.apply(conv_net)
    with pytest.raises(InputError, match="trains none of the network's prunable weights"):
        keep_sparse(net, ticket, optimiser)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            lambda net, ticket, optimiser: (net, "ticket.safetensors", optimiser),
            "expected a Ticket: read one",
        ),
        (lambda net, ticket, optimiser: (net.state_dict(), ticket, optimiser), "expected the nn.Module that"),
        (lambda net, ticket, optimiser: (net, ticket, None), r"expected one of torch\.optim"),
        (lambda net, ticket, optimiser: (nn.Linear(2, 2), ticket, optimiser), "mask does not fit"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, ticket, conv_net):
    optimiser = torch.optim.SGD(conv_net.parameters(), 0.1)
    with pytest.raises(InputError, match=message):
        keep_sparse(*arguments(conv_net, ticket, optimiser))


def test_a_network_of_another_ticket_is_refused(ticket):
    with pytest.raises(InputError, match=r"ticket of .* does not fit the network, .*: use the network"):
        ticket.apply(nn.Linear(2, 2))


def test_what_is_printed_is_short_and_says_what_it_is(ticket, conv_net):
    net = ticket.apply(conv_net)
    view, optimiser = attack_view(net), torch.optim.SGD(net.parameters(), 0.1)
    assert repr(view) == f"AttackView(of {type(net).__name__}, not folded yet)"
    view(IMAGES)
    assert repr(view) == f"AttackView(of {type(net).__name__})"
    hooks = keep_sparse(net, ticket, optimiser)
    assert repr(hooks) == f"SparsityHooks({hooks.zeros:,} parameters held at zero)"


def test_the_attack_view_follows_the_network(ticket, conv_net):
    net = ticket.apply(conv_net)
    view, optimiser = attack_view(net), torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(2):
        modes = [m.training for m in net.modules()]
        logits = view(IMAGES)
        assert modes == [m.training for m in net.modules()]
        net.eval()
        torch.testing.assert_close(logits, net(IMAGES), rtol=1e-5, atol=1e-5)
        net.train()
        steps(net, optimiser, 2)  # statistics too
    with torch.no_grad():
        net.eval()
        for parameter in net.parameters():
            parameter.data = parameter.data * 2  # which nothing counts
        view.refresh()
        torch.testing.assert_close(view(IMAGES), net(IMAGES), rtol=1e-5, atol=1e-5)
        net.linear = nn.Sequential(net.linear, nn.Tanh())
        torch.testing.assert_close(view(IMAGES), net(IMAGES), rtol=1e-5, atol=1e-5)


def test_the_attack_view_follows_a_network_that_is_moved(ticket, conv_net):
    net = ticket.apply(conv_net)
    view = attack_view(net)
    view(IMAGES)
    net.double().eval()
    torch.testing.assert_close(view(IMAGES.double()), net(IMAGES.double()), rtol=0, atol=1e-10)


@pytest.mark.parametrize("channels", [3, 8])
def test_a_backward_pass_that_would_hang_is_refused_in_the_format_that_hangs(channels):
    net = nn.Sequential(
        nn.Conv2d(1, channels, 3), nn.Conv2d(channels, 8, 1, stride=2), nn.Flatten(), nn.Linear(72, 4)
    )
    attack_view(net)(IMAGES)
    view = attack_view(net.to(memory_format=torch.channels_last))
    if channels == 8:
        view(IMAGES)
        return
    with pytest.raises(InputError, match="1 is a 1x1 convolution of stride 2 from 3 channels"):
        view(IMAGES)


def test_the_attack_view_gives_the_images_of_the_network(ticket, conv_net):
    net = ticket.apply(conv_net).double()
    view, images = attack_view(net), IMAGES.double()
    attack = PGD(ThreatModel("Linf", 0.1), steps=3)
    ours, plain = (attack(one, images, LABELS, seed=0) for one in (view, net))
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-9)
    assert isinstance(attacks.FGSM(attack.threat)(view, images, LABELS), torch.Tensor)
