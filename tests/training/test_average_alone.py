"""The average of weights in a loop of one's own, against PyTorch's and against the loop of ours."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn
from training_case import half_mask, same_state, train

import robust_tickets as rt
from robust_tickets.base.errors import InputError
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.masking import masking_for
from robust_tickets.training.schedules import learning_rate
from robust_tickets.training.training_batches import training_batches


def test_it_is_the_average_of_pytorch_with_its_statistics():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3)).double()
    batches = [torch.rand(8, 1, 6, 6, dtype=torch.float64) for _ in range(6)]

    def average(old, new, number):
        return old + (1 - min(0.4, (number + 1) / (number + 10))) * (new - old)

    # PyTorch copies at its first update: it is given the init there, and then counts from 1
    theirs = AveragedModel(net, avg_fn=lambda old, new, number: average(old, new, number - 1))
    theirs.update_parameters(net)
    ours, optimiser = rt.average_weights(net, decay=0.4, batches=4), torch.optim.SGD(net.parameters(), 0.1)
    for images in batches:
        optimiser.zero_grad()
        net(images).square().sum().backward()
        optimiser.step()
        ours.update(images)
        theirs.update_parameters(net)
    update_bn(batches[-4:], theirs)
    images = torch.rand(5, 1, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(ours.network()(images), theirs.eval()(images), rtol=0, atol=1e-12)


def test_a_loop_of_one_s_own_gives_the_average_of_ours(conv_net, tiny_data, config):
    mask = half_mask(conv_net)
    settings = replace(config.settings, method="natural", momentum=0.9, epochs=1)
    config = replace(config, settings=settings, steps=4, average=0.9, average_batches=3)
    result, _ = train(copy.deepcopy(conv_net), mask, tiny_data, config)

    net = conv_net.train()
    for name, entries in mask.items():
        net.get_parameter(name).data.mul_(entries)
    average = rt.average_weights(net, decay=0.9, batches=3)
    masking = masking_for(net, mask, tiny_data.spec.shape)
    optimiser = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=settings.weight_decay)
    for batch in training_batches(tiny_data, config, 1, 0):
        optimiser.param_groups[0]["lr"] = learning_rate(settings, batch.step.number, 4)
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(batch.images), batch.labels).backward()
        masking.mask_gradients()
        optimiser.step()
        masking.mask_parameters()
        average.update(batch.images)
    assert result.average is not None
    assert same_state(copy_state(average.network()), result.average)
    for name, entries in mask.items():
        assert not result.average[name][~entries].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: rt.average_weights(net).network(), "no step was averaged"),
        (lambda net: rt.average_weights(net, decay=1.0), r"decay must be in \[0, 1\)"),
        (lambda net: rt.average_weights(net, batches=0), "batches must be at least 1"),
        (lambda net: rt.average_weights(net.state_dict()), "expected an nn.Module"),
    ],
)
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(nn.Linear(2, 2))
