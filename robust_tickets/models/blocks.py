"""The blocks of a network by stage: what its depth is made of."""

from dataclasses import dataclass

from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.preact_resnet import PreActResNet
from robust_tickets.models.resnet import CifarResNet
from robust_tickets.models.vgg import VGG
from robust_tickets.models.wide_resnet import WideResNet

Block = tuple[str, ...]
"""The names of the modules of a block: one of a residual network, convolution and BatchNorm of a VGG."""


@dataclass(frozen=True)
class Stage:
    """The blocks between two changes of the feature maps' size.

    first: the block that changes shape, of which no copy can follow.
    others: those that keep it.
    """

    first: Block
    others: tuple[Block, ...]


def find_stages(net: nn.Module) -> tuple[Stage, ...]:
    """The stages of a network in order. Raises InputError for a network whose blocks are not known."""
    if isinstance(net, VGG):
        return _vgg_stages(net)
    if isinstance(net, (CifarResNet, PreActResNet)):
        return _residual_stages(net, "layer", "")
    if isinstance(net, WideResNet):
        return _residual_stages(net, "block", ".layer")
    raise InputError(
        f"the blocks of {type(net).__name__} are not known, so none can be copied or left out: take a "
        "network that has some, such as resnet20, vgg16 and wrn28-10"
    )


def _residual_stages(net: nn.Module, name: str, inner: str) -> tuple[Stage, ...]:
    """Of a network with the stages name1, name2, ..., whose blocks are the children of what `inner` names."""
    stages = []
    number = 1
    while hasattr(net, f"{name}{number}"):
        path = f"{name}{number}{inner}"
        first, *others = [(f"{path}.{child}",) for child, _ in net.get_submodule(path).named_children()]
        stages.append(Stage(first, tuple(others)))
        number += 1
    return tuple(stages)


def _vgg_stages(net: VGG) -> tuple[Stage, ...]:
    """A stage begins at the first convolution and after each max-pool."""
    stages: list[list[Block]] = [[]]
    for number, layer in enumerate(net.features):
        if isinstance(layer, nn.Conv2d):
            stages[-1].append((f"features.{number}", f"features.{number + 1}"))
        elif isinstance(layer, nn.MaxPool2d):
            stages.append([])
    return tuple(Stage(first, tuple(others)) for first, *others in filter(None, stages))
