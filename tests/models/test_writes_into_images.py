"""A network that writes into its images is refused before a training, and by an evaluation."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

import robust_tickets as rt
from robust_tickets.base.errors import InputError
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.user_net import build_user_net

SPEC = ModelSpec("my_nets:small", 1.0, (1, 8, 8), 10, (0.5,), (0.2,))


class Normalised(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "in place":
            x.sub_(0.5).div_(0.25)
        elif self.how == "in eval mode" and not self.training:
            x -= 0.5
        elif self.how == "without a graph":
            with torch.no_grad():
                x.sub_(0.5)
        elif self.how == "by data":
            x.data.sub_(0.5)
        elif self.how == "by numpy":
            x.detach().numpy()[...] -= 0.5
        elif self.how == "by out":
            torch.sub(x, 0.5, out=x)
        elif self.how == "by rows":
            for row in x.unbind(0):
                row.sub_(0.5)
        elif self.how == "by transforms":
            x = v2.Normalize((0.5,), (0.25,), inplace=True)(x)
        else:
            x = (x - 0.5) / 0.25
        return self.net(x)


WAYS = [
    "in place",
    "in eval mode",
    "without a graph",
    "by data",
    "by numpy",
    "by out",
    "by rows",
    "by transforms",
]


@pytest.mark.parametrize("how", WAYS)
def test_it_is_refused_before_a_training(how):
    with pytest.raises(InputError, match="my_nets:small cannot be trained: the network writes into"):
        build_user_net(lambda: Normalised(how), SPEC, seed=0)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_one_is_refused_before_a_training(backend):
    with pytest.raises(InputError, match="my_nets:small cannot be trained: the network writes into"):
        build_user_net(lambda: torch.compile(Normalised("in place"), backend=backend), SPEC, seed=0)


@pytest.mark.parametrize("how", WAYS)
def test_it_is_refused_by_an_evaluation(how):
    with pytest.raises(InputError, match="the network writes into its images"):
        rt.evaluate(Normalised(how), {"name": "digits"}, limit=10, attacks="clean")
