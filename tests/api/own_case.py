"""A network and images of a user."""

import torch
from torch import Tensor, nn

import robust_tickets
from robust_tickets.data.dataset import Dataset
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Compare, Compute, Evaluate, Threat
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Search, Train

ARMS = ("dense", "ticket")
RECIPE = Recipe(
    name="own",
    threat=Threat(Eps("0.1")),
    search=Search(method="fgsm", epochs=1, batch=16, lr=0.05, rounds=2, ratio=0.4),
    train=Train(method="fgsm", epochs=2, ticket_epochs=1, batch=16, lr=0.05),
    evaluate=Evaluate(batch=20, val_steps=1),
    compare=Compare(ARMS),
    compute=Compute(threads=1),
)


def build_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 3),
    )


def labelled_images(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images of three classes, each with a bright third of its own."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.rand(n, 1, 8, 8, generator=generator) * 0.6, torch.arange(n) % 3
    for label in range(3):
        images[labels == label, :, 2 * label + 1 : 2 * label + 3] += 0.4
    return images, labels


def own_images(seed: int = 0) -> Dataset:
    return robust_tickets.images(labelled_images(60, seed), labelled_images(30, 9), val_images=12)


def state_of(net: nn.Module) -> tuple[list[object], dict[str, Tensor]]:
    """All that must not change in a user's network: modes, hooks, gradients and weights."""
    attributes = [(id(m), m.training, len(m._forward_hooks)) for m in net.modules()]
    attributes += [(id(p), p.requires_grad, p.grad is None, p.stride()) for p in net.parameters()]
    return attributes, {name: tensor.clone() for name, tensor in net.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
