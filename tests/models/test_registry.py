"""Networks by name: seeds, widths, normalisation, and messages for wrong names and sizes."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.transforms import functional as vision

from robust_tickets.base.errors import InputError
from robust_tickets.models.normalise import Normalise
from robust_tickets.models.registry import NAMES, ModelSpec, build, scale_channels

GREY = ModelSpec("lenet-300-100", 1.0, (1, 28, 28), 10, (0.1307,), (0.3081,))
COLOUR = ModelSpec("resnet20", 1.0, (3, 32, 32), 10, (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
SMALL = {
    "lenet-300-100": dataclasses.replace(GREY, width=0.1),
    "resnet20": dataclasses.replace(COLOUR, width=0.5),
    "vgg16": dataclasses.replace(COLOUR, name="vgg16", width=0.125),
}
RESIDUAL = "resnet20, resnet32, resnet56, resnet18, preact-resnet18"


@pytest.fixture(params=SMALL)
def spec(request) -> ModelSpec:
    return SMALL[request.param]


def test_lenet_has_the_paper_s_266_200_weights():
    net = build(GREY, seed=0)
    assert sum(layer.weight.numel() for layer in net.modules() if isinstance(layer, nn.Linear)) == 266_200
    assert sum(p.numel() for p in net.parameters()) == 266_610


def test_layers_of_resnet20_and_vgg16():
    with torch.device("meta"):
        resnet, vgg = build(COLOUR, seed=0), build(dataclasses.replace(COLOUR, name="vgg16"), seed=0)
    layers = [m for m in resnet.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len([m for m in layers if getattr(m, "kernel_size", None) != (1, 1)]) == 20
    assert [m.kernel_size for m in vgg.modules() if isinstance(m, nn.Conv2d)] == [(3, 3)] * 13


def test_logits_are_one_a_class(spec):
    for classes in (2, 10):
        net = build(dataclasses.replace(spec, classes=classes), seed=0).eval()
        assert net(torch.rand(3, *spec.shape)).shape == (3, classes)


def test_the_same_seed_gives_the_same_weights(spec):
    one, two = build(spec, seed=5).state_dict(), build(spec, seed=5).state_dict()
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


def test_another_seed_gives_other_weights_in_all_layers(spec):
    one, two = build(spec, seed=5), build(spec, seed=6)
    for (name, module), other in zip(one.named_modules(), two.modules(), strict=True):
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert (module.weight != other.weight).double().mean() > 0.99, name


def test_weights_do_not_depend_on_the_global_generator(spec):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        one = build(spec, seed=5).state_dict()
        torch.manual_seed(2)
        two = build(spec, seed=5).state_dict()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_building_leaves_the_global_generator_unchanged(spec):
    state = torch.get_rng_state()
    build(spec, seed=5)
    assert torch.equal(torch.get_rng_state(), state)


def test_building_leaves_the_generators_of_gpus_unchanged(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    build(SMALL["resnet20"], seed=5)
    assert seeds == []


def test_a_build_that_fails_leaves_the_global_generator_unchanged():
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError):
        build(dataclasses.replace(GREY, classes=-1), seed=5)
    assert torch.equal(torch.get_rng_state(), state)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 2048), st.floats(0.01, 8))
def test_channels_are_the_nearest_multiple_of_8_and_at_least_8(full, width):
    count = scale_channels(full, width)
    assert isinstance(count, int)
    assert count % 8 == 0
    assert count >= 8
    assert count == 8 or abs(count - full * width) <= 4


@pytest.mark.parametrize("full", [8, 16, 64, 512])
def test_width_1_leaves_channels_unchanged(full):
    assert scale_channels(full, 1.0) == full


@pytest.mark.parametrize("name", ["resnet20", "vgg16"])
@pytest.mark.parametrize("width", [0.01, 0.1, 0.3])
def test_every_layer_of_a_narrow_network_has_a_multiple_of_8_channels(name, width):
    net = build(dataclasses.replace(COLOUR, name=name, width=width), seed=0).eval()
    counts = [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert all(count % 8 == 0 and count >= 8 for count in counts)
    full = [16, 64] if name == "resnet20" else [64, 512]
    assert [counts[0], counts[-1]] == [scale_channels(c, width) for c in full]
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(("width", "units"), [(0.1, (30, 10)), (2.0, (600, 200)), (0.001, (1, 1))])
def test_width_scales_the_units_of_lenet(width, units):
    net = build(dataclasses.replace(GREY, width=width), seed=0)
    assert (net.fc1.out_features, net.fc2.out_features) == units


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("resnet-20", "resnet20"), ("vgg", "vgg16"), ("lenet-300", "lenet-300-100")]
)
def test_an_unknown_network_gets_the_nearest_name(wrong, nearest):
    with pytest.raises(InputError, match=rf"unknown network '{wrong}': did you mean .*'{nearest}'.*vgg16"):
        build(dataclasses.replace(COLOUR, name=wrong), seed=0)


def test_a_name_without_a_near_one_gets_all_names():
    names = ", ".join(sorted([*NAMES, "wrn28-10", "wrn34-10"]))
    with pytest.raises(InputError, match=rf"unknown network 'zzz': known: {names} \(any wrnD-K, D ="):
        build(dataclasses.replace(COLOUR, name="zzz"), seed=0)


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("wrn35-10", "wrn34-10"), ("wrn38-1", "wrn40-1"), ("wrn4-2", "wrn10-2")]
)
def test_a_wide_resnet_of_a_wrong_depth_gets_the_nearest(wrong, nearest):
    with pytest.raises(
        InputError, match=rf"'{wrong}': .* must be 6n \+ 4, at least 10: did you mean '{nearest}'"
    ):
        build(dataclasses.replace(COLOUR, name=wrong), seed=0)


@pytest.mark.parametrize("wrong", ["wrn-34-10", "wrn34", "wrn34-0", "wrn034-10", "wrn34-10 ", "wrn28-x"])
def test_a_misspelt_wide_resnet_is_unknown(wrong):
    with pytest.raises(InputError, match=rf"unknown network '{wrong}': did you mean .*any wrnD-K"):
        build(dataclasses.replace(COLOUR, name=wrong), seed=0)


@pytest.mark.parametrize(
    ("name", "sides", "least", "fitting"),
    [
        ("vgg16", (28, 28), 32, "lenet-300-100, conv-2, conv-4, conv-6, vgg19, " + RESIDUAL),
        ("vgg16", (32, 31), 32, "lenet-300-100, conv-2, conv-4, conv-6, vgg19, " + RESIDUAL),
        ("vgg19", (15, 16), 16, "lenet-300-100, conv-2, conv-4, conv-6, " + RESIDUAL),
        ("vgg16", (3, 40), 32, "lenet-300-100, conv-2"),
        ("resnet20", (3, 3), 4, "lenet-300-100, conv-2"),
        ("wrn10-1", (3, 3), 4, "lenet-300-100, conv-2"),
        ("conv-6", (7, 8), 8, "lenet-300-100, conv-2, conv-4, resnet20, resnet32, resnet56"),
        ("conv-2", (1, 1), 2, "lenet-300-100"),
    ],
)
def test_images_too_small_get_networks_that_fit(name, sides, least, fitting):
    spec = dataclasses.replace(COLOUR, name=name, shape=(3, *sides))
    message = rf"{name} needs .* {least} x {least} pixels.* {sides[0]} x {sides[1]}: .*\({fitting}\)"
    with pytest.raises(InputError, match=message):
        build(spec, seed=0)
    for other in fitting.split(", "):
        net = build(dataclasses.replace(spec, name=other, width=0.1), seed=0).eval()
        assert net(torch.rand(2, 3, *sides)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "sides"), [("vgg16", (32, 32)), ("resnet20", (4, 4)), ("lenet-300-100", (1, 1))]
)
def test_the_smallest_images_fit(name, sides):
    net = build(dataclasses.replace(COLOUR, name=name, width=0.1, shape=(3, *sides)), seed=0).eval()
    assert net(torch.rand(2, 3, *sides)).isfinite().all()


def test_normalise_equals_torchvision_s():
    images = torch.rand(5, 3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layer = Normalise(COLOUR.mean, COLOUR.std).double()
    expected = vision.normalize(images, list(COLOUR.mean), list(COLOUR.std))
    torch.testing.assert_close(layer(images), expected, rtol=1e-6, atol=1e-6)
    assert list(layer.parameters()) == []


def test_normalisation_is_the_first_layer(spec):
    images = torch.rand(4, *spec.shape, generator=torch.Generator().manual_seed(0))
    zeros, ones = (0.0,) * len(spec.mean), (1.0,) * len(spec.mean)
    plain = build(dataclasses.replace(spec, mean=zeros, std=ones), seed=3).eval()
    net = build(spec, seed=3).eval()
    expected = plain(vision.normalize(images, list(spec.mean), list(spec.std)))
    torch.testing.assert_close(net(images), expected)
    assert not torch.allclose(net(images), plain(images))


@pytest.mark.parametrize("name", ["lenet-300-100", "vgg16", "resnet20"])
@pytest.mark.parametrize("width", [0.0, -1.0, float("inf"), float("nan")])
def test_a_width_must_be_positive(name, width):
    with pytest.raises(InputError, match="width must be a positive number, got"):
        build(dataclasses.replace(COLOUR, name=name, width=width), seed=0)
