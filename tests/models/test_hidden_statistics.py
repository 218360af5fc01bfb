"""Statistics that change in training outside a network's state dict are refused; those in buffers are not."""

import pytest
import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.user_net import build_user_net

SPEC = ModelSpec("my_nets:net", 1.0, (1, 4, 4), 3, (0.5,), (0.2,))


class Statistic(nn.Module):
    """A linear layer behind a running mean; `kind` says how it is kept."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.last, self.kind = nn.Linear(16, 3), kind
        self.rate = 0.001 if kind == "slow" else 0.1
        if kind == "buffer":
            self.register_buffer("mean", torch.zeros(16))
        elif kind == "left out":
            self.register_buffer("mean", torch.zeros(16), persistent=False)
        elif kind == "list":
            self.means = [torch.zeros(16)]
        elif kind == "number":
            self.scale = 1.0
        elif kind == "begins as None":
            self.mean = None
        else:
            self.mean = torch.zeros(16)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        mean = x.detach().mean(0)
        if self.kind == "number":
            self.scale *= 0.999 if self.training else 1.0
            return self.last(x) * self.scale
        if self.training:
            if self.kind == "begins as None":
                self.mean = mean
            elif self.kind == "list":
                self.means[0] = self.means[0].lerp(mean, self.rate)
            elif self.kind == "in place":
                self.mean.lerp_(mean, self.rate)
            else:
                self.mean = self.mean.lerp(mean, self.rate)
        kept = self.means[0] if self.kind == "list" else self.mean
        return self.last(x if kept is None else x - kept)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("plain", "mean"),
        ("in place", "mean"),
        ("slow", "mean"),
        ("left out", "mean"),
        ("list", r"means\[0\]"),
        ("begins as None", "mean"),
        ("number", "scale"),
    ],
)
def test_statistics_outside_the_state_dict_are_refused(kind, place, train):
    with pytest.raises(
        InputError, match=rf"my_nets:net changes in training by .* \({place}\).*register_buffer"
    ):
        build_user_net(lambda: Statistic(kind), SPEC, seed=0, train=train)


def test_statistics_in_buffers_pass():
    net = build_user_net(lambda: Statistic("buffer"), SPEC, seed=0)
    assert not bool(net.mean.any())
