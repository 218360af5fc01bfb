"""What the user froze stays frozen: modes, statistics and weights."""

import copy

import pytest
import torch
from own_case import RECIPE, own_images
from torch import nn

import robust_tickets
from robust_tickets.base.errors import InputError
from robust_tickets.models.init import initialise
from robust_tickets.models.modes import frozen_modules, train_mode
from robust_tickets.models.resize import resize_layers
from robust_tickets.pruning.layers import has_own_forward, layer_roles
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import masking_for
from robust_tickets.recipe.training_fields import Search
from robust_tickets.stages.unsupported import unsupported_parts
from robust_tickets.tickets.narrow_net import masked_flops
from robust_tickets.tickets.pruning_step import pruning_step

pytestmark = pytest.mark.filterwarnings("ignore:.*(there are few images|the net collapsed)")


def partly_frozen(images) -> nn.Sequential:
    """A frozen convolution with its BatchNorm and dropout, and a block that is trained."""
    net = nn.Sequential(
        *(nn.Conv2d(images.spec.shape[0], 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        nn.Linear(32, images.spec.classes),
    )
    for module in (net[0], net[1]):
        module.requires_grad_(False)
    net[1].running_mean.fill_(0.3)
    for module in (net[1], net[2]):
        module.eval()
    return net


def test_statistics_modes_and_weights_stay(images, capsys):
    net = partly_frozen(images)
    before = copy.deepcopy(net.state_dict())
    ticket = robust_tickets.find_ticket(net, images, RECIPE)
    assert bool(ticket.mask["0.weight"].all())
    assert not bool(ticket.mask["4.weight"].all())
    trained = robust_tickets.train(net, images, ticket, RECIPE).net.state_dict()
    for name, value in before.items():
        if name.startswith(("0.", "1.")):
            assert torch.equal(trained[name], value), name
    assert not torch.equal(trained["5.running_mean"], before["5.running_mean"])
    words = capsys.readouterr().err
    assert "no search prunes them" in words
    assert "2 modules were put in eval mode and stay in it (1, 2)" in words


def test_train_mode_keeps_what_is_frozen_and_no_network_that_was_loaded():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm2d(2), nn.Dropout()))
    net[2].eval()
    assert frozen_modules(train_mode(net)) == [net[2], net[2][0], net[2][1]]
    assert net[1].training
    assert all(module.training for module in train_mode(net.eval()).modules())
    wrapped = nn.Sequential(nn.Identity(), nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).eval())
    assert all(module.training for module in train_mode(wrapped).modules())


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_no_step_prunes_frozen_weights(images, scope):
    net, shape = partly_frozen(images), images.spec.shape
    assert layer_roles(net, shape).frozen == {"0.weight"}
    step = pruning_step(net, Search(ratio=0.5, scope=scope), shape)
    scores = {name: torch.rand(entries.shape) for name, entries in Mask.full(net).items()}
    mask = step.prune(scores, Mask.full(net))
    assert bool(mask["0.weight"].all())
    assert int(mask["4.weight"].sum()) < 8 * 8 * 9


def test_channels_with_a_frozen_part_stay(images):
    """The second convolution reads the frozen one's channels; its own, with a trained reader, may go."""
    net = partly_frozen(images)
    step = pruning_step(net, Search(granularity="channel", ratio=0.5, round_to=4), images.spec.shape)
    scores = {name: torch.rand(entries.shape) for name, entries in Mask.full(net).items()}
    mask = step.prune(scores, Mask.full(net))
    assert bool(mask["0.weight"].all())
    assert bool(mask["4.weight"].any(0).all())
    assert int(mask["4.weight"].flatten(1).any(1).sum()) == 4


def test_frozen_companions_keep_their_values(images):
    net = partly_frozen(images)
    net[5].requires_grad_(False)
    entries = dict(Mask.full(net))
    entries["4.weight"][:3] = False
    masking_for(net, Mask(entries), images.spec.shape).mask_parameters()
    assert bool(net[5].weight.all())
    assert not bool(net[4].bias[:3].any())


def test_no_init_draws_frozen_weights(images):
    net = partly_frozen(images)
    before = copy.deepcopy(net.state_dict())
    initialise(net, "kaiming-normal")
    assert torch.equal(net[0].weight, before["0.weight"])
    assert torch.equal(net[0].bias, before["0.bias"])
    assert not torch.equal(net[4].weight, before["4.weight"])


class Standardised(nn.Conv2d):
    """A convolution with standardised weights (Qiao et al. 2019)."""

    def _conv_forward(self, x, weight, bias):
        weight = (weight - weight.mean((1, 2, 3), keepdim=True)) / weight.std((1, 2, 3), keepdim=True)
        return super()._conv_forward(x, weight, bias)


class Shifted(nn.Linear):
    """A linear layer whose output is alive where its weights are zero."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight + 1, self.bias)


def test_layers_with_a_forward_of_their_own_have_no_zeros():
    class Renamed(nn.Conv2d):
        pass

    assert has_own_forward(Standardised(1, 2, 1))
    assert has_own_forward(Shifted(1, 2))
    assert not has_own_forward(Renamed(1, 2, 1))
    assert not has_own_forward(nn.MultiheadAttention(4, 2).out_proj)
    net = nn.Sequential(Standardised(1, 4, 3), nn.Flatten(), Shifted(16, 5), nn.Linear(5, 2))
    entries = {name: torch.zeros_like(entry) for name, entry in Mask.full(net).items()}
    dense = 2 * (4 * 9 * 4 + 16 * 5)
    assert masked_flops(net, Mask(entries), (1, 4, 4)) == dense
    entries["2.weight"][1:] = True
    masking_for(net, Mask(entries), (1, 4, 4)).mask_parameters()
    assert bool(net[2].bias.all())
    assert any("2 layers have a forward of their own (0, 2)" in line for line in unsupported_parts(net))


def base(width: int = 8) -> nn.Sequential:
    norms = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
    convs = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
    ends = nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 3)
    return nn.Sequential(convs[0], norms[0], nn.ReLU(), convs[1], norms[1], nn.ReLU(), *ends)


def zero_gradient(parameter: nn.Parameter) -> None:
    parameter.grad = 0 * parameter.grad


def all_but_the_head() -> nn.Sequential:
    net = base().eval()
    net[8].train()
    net[1].running_mean.fill_(0.3)
    return net


@pytest.mark.parametrize("net", [all_but_the_head(), all_but_the_head], ids=["module", "function"])
def test_a_network_in_eval_mode_but_for_its_head_keeps_its_statistics(net, capsys):
    trained = robust_tickets.train(net, own_images(), recipe=RECIPE).net
    assert torch.equal(trained[1].running_mean, torch.full((8,), 0.3))
    assert (
        "9 modules were put in eval mode and stay in it (the network, 0, 1, ...)" in capsys.readouterr().err
    )


def test_batchnorms_alone_in_train_mode_are_no_head():
    net = base().eval()
    net[1].train()
    assert frozen_modules(net) == []
    net[8].train()
    assert frozen_modules(net) == [net, net[0], *net[2:8]]


@pytest.mark.parametrize("kind", ["register_hook", "register_post_accumulate_grad_hook"])
@pytest.mark.parametrize("granularity", ["weight", "channel"])
@pytest.mark.parametrize("module", [True, False])
def test_weights_frozen_by_gradient_hooks_stay(kind, granularity, module):
    def hooked() -> nn.Sequential:
        torch.manual_seed(0)
        net = base(16)
        for tensor in (net[8].bias, net[3].weight):
            stop = (lambda g: g * 0) if kind == "register_hook" else zero_gradient
            getattr(tensor, kind)(stop)
        return net

    search = {"granularity": granularity, "ratio": 0.4, "rounds": 1, "weight_decay": 0.0}
    if granularity == "channel":
        search |= {"ratio": 0.5}
    changes = {"search": search, "train": {"weight_decay": 0.0, "ticket_epochs": 1}}
    net = hooked() if module else hooked
    ticket = robust_tickets.find_ticket(net, own_images(), RECIPE, **changes)
    trained = robust_tickets.train(net, own_images(), ticket, RECIPE, **changes).net
    init = dict(ticket.init)
    assert torch.equal(trained[8].bias, init["8.bias"])
    assert bool(trained[4].bias.any())  # which are zero at first
    if granularity == "weight":
        assert torch.equal(trained[3].weight, init["3.weight"] * ticket.mask["3.weight"])


def test_a_hook_that_does_not_fit_fewer_channels_is_said():
    mask = torch.ones(8, 1, 3, 3)
    net = base()
    net[0].weight.register_hook(lambda g: g * mask)
    state = net.state_dict()
    narrow = {name: t[:3] if name.startswith(("0.", "1.")) and t.ndim else t for name, t in state.items()}
    narrow["3.weight"] = state["3.weight"][:, :3]
    resize_layers(net, narrow)
    with pytest.raises(InputError, match=r"hook of 0\.weight does not fit the ticket's channels"):
        net[0].weight.sum().backward()
