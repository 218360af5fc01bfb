"""A ticket in a training loop of your own: PyTorch alone, with AdamW and a DataLoader.

    python examples/own_loop.py

It finds a ticket on scikit-learn's digits, trains it adversarially, and measures it: in about half a minute.
"""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import robust_tickets as rt

EPS = 0.1
EPOCHS = 8


def build_net() -> nn.Module:
    """A small network for images (N, 1, 8, 8) in [0, 1]."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 16, 10)),
    )


def load_images() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits: images (1797, 1, 8, 8) in [0, 1] and labels."""
    digits = load_digits()
    return torch.tensor(digits.images / 16, dtype=torch.float32)[:, None], torch.tensor(digits.target)


def load_data() -> Any:
    """The same as robust-tickets reads them: 1,000 to train on, 200 for validation, the rest for the test."""
    images, labels = load_images()
    return rt.images((images[:1200], labels[:1200]), (images[1200:], labels[1200:]), val_images=200)


def batches() -> DataLoader[tuple[Tensor, ...]]:
    """Training images and labels, in batches of 64."""
    images, labels = load_images()
    return DataLoader(TensorDataset(images[:1200], labels[:1200]), batch_size=64, shuffle=True)


def find_ticket() -> rt.Ticket:
    """A ticket that keeps 30 % of the weights, after three epochs of FGSM."""
    search = {"method": "fgsm", "epochs": 3, "lr": 0.05, "ratio": 0.7, "batch": 64}
    return rt.find_ticket(build_net, load_data(), threat={"eps": EPS}, search=search)


def make_attack() -> rt.attacks.PGD:
    """The attack of the training; each call starts from other noise."""
    return rt.attacks.PGD(rt.attacks.ThreatModel("Linf", EPS), steps=5)


def main() -> None:
    """Find a ticket, train it, and evaluate it."""
    torch.manual_seed(0)
    ticket = find_ticket()
    print(ticket)

    net = ticket.apply(build_net())  # rewound and pruned
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-2)
    view = rt.attack_view(net)  # what the attack sees: the same function, in less time
    attack = make_attack()
    with rt.keep_sparse(net, ticket, optimiser) as hooks:
        for epoch in range(EPOCHS):
            for images, labels in batches():
                adversarial = attack(view, images, labels)
                optimiser.zero_grad()
                loss = F.cross_entropy(net(adversarial), labels)
                loss.backward()
                optimiser.step()
            print(f"epoch {epoch + 1}: loss {loss.item():.3f}")
        hooks.check()
    report(net, hooks.zeros)


def report(net: nn.Module, zeros: int) -> None:
    """Print what came of it."""
    print(f"{zeros} parameters are zero")
    print(
        rt.evaluate(net, load_data(), threat={"eps": EPS}, attacks=("clean", "pgd-20")).to_string(index=False)
    )


if __name__ == "__main__":
    main()
