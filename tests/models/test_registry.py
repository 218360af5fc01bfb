"""Networks by name: seeds, widths, normalisation, and messages for wrong names and sizes."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow_nets import FULL, SPECS
from torchvision.transforms import functional as vision

from robust_tickets.base.errors import InputError
from robust_tickets.models.normalise import Normalise
from robust_tickets.models.registry import NAMES, ModelSpec, build, scale_channels
from robust_tickets.recipe import schema

RESIDUAL = "resnet14, resnet20, resnet32, resnet44, resnet56, resnet18, preact-resnet18"


def test_building_leaves_the_generators_of_gpus_unchanged(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    build(FULL, seed=5)
    assert seeds == []


def test_a_build_that_fails_leaves_the_global_generator_unchanged():
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError):
        build(dataclasses.replace(FULL, classes=-1), seed=5)
    assert torch.equal(torch.get_rng_state(), state)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 2048), st.floats(0.01, 8))
def test_channels_are_the_nearest_multiple_of_8_and_at_least_8(full, width):
    count = scale_channels(full, width)
    assert isinstance(count, int)
    assert count % 8 == 0
    assert count >= 8
    assert count == 8 or abs(count - full * width) <= 4


@pytest.mark.parametrize(("width", "units"), [(0.1, (30, 10)), (2.0, (600, 200)), (0.001, (1, 1))])
def test_width_scales_the_units_of_lenet(width, units):
    net = build(dataclasses.replace(FULL, name="lenet-300-100", width=width), seed=0)
    assert (net.fc1.out_features, net.fc2.out_features) == units


UNKNOWN = {
    "resnet-20": r"did you mean .*'resnet20'.*vgg16",
    "vgg": r"did you mean .*'vgg16'",
    "mlp-9999": "the N of mlp-N is a number from 1 to 99",
    "zzz": rf"known: {', '.join(sorted([*NAMES, 'mlp-3', 'wrn28-10', 'wrn34-10']))} \(any mlp-N, and any",
    "wrn34-0": "did you mean .*any wrnD-K",
    "wrn034-10": "did you mean .*any wrnD-K",
    "wrn34-10 ": "did you mean .*any wrnD-K",
    "wrn35-10": r".* must be 6n \+ 4, at least 10: did you mean 'wrn34-10'",
    "wrn4-2": "did you mean 'wrn10-2'",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_network_gets_the_nearest_name_or_all(name):
    with pytest.raises(InputError, match=rf"unknown network '{name}': .*{UNKNOWN[name]}"):
        build(dataclasses.replace(FULL, name=name), seed=0)


@pytest.mark.parametrize(
    ("name", "sides", "least", "fitting"),
    [
        ("vgg16", (32, 31), 32, "lenet-300-100, conv-2, conv-4, conv-6, vgg19, " + RESIDUAL),
        ("vgg16", (3, 40), 32, "lenet-300-100, conv-2"),
        ("wrn10-1", (3, 3), 4, "lenet-300-100, conv-2"),
        (
            "conv-6",
            (7, 8),
            8,
            "lenet-300-100, conv-2, conv-4, resnet14, resnet20, resnet32, resnet44, resnet56",
        ),
    ],
)
def test_images_too_small_get_networks_that_fit(name, sides, least, fitting):
    spec = dataclasses.replace(FULL, name=name, shape=(3, *sides))
    message = rf"{name} needs .* {least} x {least} pixels.* {sides[0]} x {sides[1]}: .*\({fitting}\)"
    with pytest.raises(InputError, match=message):
        build(spec, seed=0)
    for other in fitting.split(", "):
        net = build(dataclasses.replace(spec, name=other, width=0.1), seed=0).eval()
        assert net(torch.rand(2, 3, *sides)).shape == (2, 10)


def test_normalise_equals_torchvision_s():
    images = torch.rand(5, 3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layer = Normalise(FULL.mean, FULL.std).double()
    expected = vision.normalize(images, list(FULL.mean), list(FULL.std))
    torch.testing.assert_close(layer(images), expected, rtol=1e-6, atol=1e-6)
    assert list(layer.parameters()) == []


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_normalisation_is_the_first_layer(spec):
    images = torch.rand(4, *spec.shape, generator=torch.Generator().manual_seed(0))
    zeros, ones = (0.0,) * len(spec.mean), (1.0,) * len(spec.mean)
    plain = build(dataclasses.replace(spec, mean=zeros, std=ones), seed=3).eval()
    net = build(spec, seed=3).eval()
    expected = plain(vision.normalize(images, list(spec.mean), list(spec.std)))
    torch.testing.assert_close(net(images), expected)
    assert not torch.allclose(net(images), plain(images))


@pytest.mark.parametrize(
    ("field", "value"),
    [("classes", -1), ("width", 0.0), ("shape", [3, 0, 32]), ("init", "x"), ("dropout", 1.0)],
)
def test_a_file_with_an_impossible_network_is_refused(field, value):
    table = {
        "name": "resnet20",
        "width": 1.0,
        "shape": [3, 32, 32],
        "classes": 10,
        "mean": [0.5],
        "std": [0.5],
    }
    with pytest.raises(InputError, match=rf"model\.{field}"):
        schema.read(ModelSpec, table | {field: value}, path="model")
