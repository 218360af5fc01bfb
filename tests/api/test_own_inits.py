"""Weights that do not come from generators that we seed are said, or refused, before any training."""

import random
import re

import numpy as np
import pytest
import torch
from own_case import RECIPE, build_net, equal
from torch import nn

import robust_tickets
from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.fresh_weights import init_problem, seed_warnings
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.user_net import build_user_net

pytestmark = pytest.mark.filterwarnings("ignore:.*(there are few images|the net collapsed)")
SPEC = ModelSpec("my_nets:net", 1.0, (1, 8, 8), 3, (0.0,), (1.0,))
LOADED = build_net().state_dict()


@torch.no_grad()
def by_numpy() -> nn.Module:
    net = build_net()
    net[0].weight.copy_(torch.from_numpy(np.random.randn(*net[0].weight.shape)))
    net[5].weight.fill_(random.random())
    return net


@torch.no_grad()
def by_its_own_generator() -> nn.Module:
    net = build_net()
    net[0].weight.copy_(torch.from_numpy(np.random.default_rng().normal(size=net[0].weight.shape)))
    return net


def loaded() -> nn.Module:
    net = build_net()
    net.load_state_dict(LOADED)
    return net


def loaded_but_for_its_head() -> nn.Module:
    net = loaded()
    net[5].reset_parameters()
    return net


def frozen_but_for_its_head() -> nn.Module:
    net = loaded_but_for_its_head()
    net[0].requires_grad_(False)
    return net


def build(function):
    return lambda seed: build_user_net(function, SPEC, seed=seed)


def test_numpy_s_and_python_s_generators_are_seeded_and_put_back():
    np.random.seed(5)
    random.seed(5)
    expected = np.random.random(), random.random()
    np.random.seed(5)
    random.seed(5)
    one, same, other = (build(by_numpy)(seed).state_dict() for seed in (1, 1, 2**31 + 1))
    assert equal(one, same)
    assert not torch.equal(one["0.weight"], other["0.weight"])
    assert not torch.equal(one["5.weight"], other["5.weight"])
    assert (np.random.random(), random.random()) == expected


@pytest.mark.parametrize("function", [build_net, by_numpy, loaded])
def test_functions_that_repeat_themselves_pass(function):
    assert init_problem(build(function), "net", 0) == ""


def test_functions_that_do_not_are_named():
    assert "my net gives other weights at each call" in init_problem(build(by_its_own_generator), "my net", 0)


def test_the_same_network_again_is_refused(images: Dataset):
    net = build_net()
    with pytest.raises(InputError, match=r"own:net returns the same 0\.weight at each call.*pass the module"):
        robust_tickets.find_ticket(lambda: net, images, RECIPE)
    assert robust_tickets.find_ticket(net, images, RECIPE).mask.density < 1


@pytest.mark.parametrize("function", [by_its_own_generator, loaded])
def test_such_weights_are_no_ground_to_refuse_a_search(function, images: Dataset, capsys):
    robust_tickets.find_ticket(function, images, RECIPE)
    robust_tickets.train(function, images, recipe=RECIPE, train={"epochs": 1})
    assert capsys.readouterr().err.count("gives other weights at each call") == 2 * (function is not loaded)


@pytest.mark.parametrize(
    ("function", "arms", "line"),
    [
        (build_net, ["ticket-reinit"], ""),
        (loaded, [], "2 of 2 weights are the same for every seed; seeds differ by their batches alone"),
        (loaded_but_for_its_head, ["random"], r"1 of 2 weights .*; a new init has them too \(0.weight\)"),
        (frozen_but_for_its_head, ["random"], ""),
    ],
)
def test_weights_that_are_the_same_for_all_seeds_are_said(function, arms, line):
    lines = seed_warnings(build(function), "net", (0, 1), arms)
    assert len(lines) == bool(line)
    assert all(re.search(line, text) for text in lines)


@pytest.mark.parametrize("net", [loaded, build_net()], ids=["function", "module"])
@pytest.mark.parametrize("arm", ["ticket-reinit", "random"])
def test_arms_that_need_a_new_init_are_refused_before_any_training(net, arm, images: Dataset, tmp_path):
    arms = {"arms": ("dense", "ticket", arm)}
    with pytest.raises(InputError, match=rf"the same weights for every seed.*{arm} need new ones"):
        robust_tickets.compare(net, images, RECIPE, runs=tmp_path, compare=arms)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_comparison_needs_the_same_weights_at_each_call(images: Dataset, tmp_path):
    with pytest.raises(InputError, match="gives other weights at each call"):
        robust_tickets.compare(by_its_own_generator, images, RECIPE, runs=tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))
