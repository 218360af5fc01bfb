"""Batches of one image, which BatchNorms over single values cannot be trained with."""

import pytest
from own_case import RECIPE, build_net
from torch import nn

import robust_tickets
from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import Dataset

pytestmark = pytest.mark.filterwarnings("ignore:.*(there are few images|the net collapsed)")


class Squeezed(nn.Sequential):
    """Its logits lose the dimension of a batch of one."""

    def forward(self, images):
        return super().forward(images).squeeze()


def normed() -> nn.Module:
    return nn.Sequential(*build_net()[:5], nn.BatchNorm1d(128), nn.Linear(128, 3))


@pytest.mark.parametrize(
    ("build", "reason"),
    [(normed, "more than 1 value per channel"), (lambda: Squeezed(*build_net()), r"shape \(3,\)")],
)
def test_it_is_refused_before_any_training(build, reason, images: Dataset, tmp_path):
    message = rf"search\.batch 1 is too small for the network.*{reason}.*set search\.batch to 2 or more"
    with pytest.raises(InputError, match=message):
        robust_tickets.find_ticket(build, images, RECIPE, search={"batch": 1})
    with pytest.raises(InputError, match=r"train\.batch 1 is too small"):
        robust_tickets.train(build, images, recipe=RECIPE, train={"batch": 1})
    with pytest.raises(InputError, match=r"train\.batch 1 is too small"):
        robust_tickets.compare(build, images, RECIPE, runs=tmp_path, train={"batch": 1})
    fields = {"arms": {"x": {"batch": 1}}, "compare": {"arms": ["dense", "dense+x"]}}
    with pytest.raises(InputError, match=r"arms\.x\.batch 1 is too small"):
        robust_tickets.compare(build, images, RECIPE, runs=tmp_path, **fields)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_networks_that_can_are_trained_with_it(images: Dataset):
    robust_tickets.find_ticket(build_net, images, RECIPE, search={"batch": 1, "images": 3, "rounds": 1})
    robust_tickets.train(build_net, images, recipe=RECIPE, train={"batch": 1, "epochs": 1})
