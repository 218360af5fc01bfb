"""Weights that others published: read without running code, fitted to a net, or refused key by key."""

import dataclasses
import pickle

import pytest
import torch
from safetensors.torch import save_file

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import SPECS
from robust_tickets.models.registry import ModelSpec, build
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.training.published_weights import load_published, parse_normalisation

RAW = ((0.0,) * 3, (1.0,) * 3)
SPEC = ModelSpec("resnet18", 0.125, (3, 32, 32), 10, *RAW)


def weights(spec=SPEC, seed=7):
    """A state dict as other code saves it: without our normalisation."""
    state = build(spec, seed=seed).state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith("normalise.")}


def logits(net):
    return net.eval()(torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module.model.", "net.", "module._orig_mod.model."])
@pytest.mark.parametrize(
    ("wrapper", "kind"), [(None, "pt"), ("state_dict", "pt"), ("net", "pt"), (None, "safetensors")]
)
def test_any_usual_wrapping_gives_the_same_net(prefix, wrapper, kind, tmp_path):
    state = {prefix + name: tensor for name, tensor in weights().items()}
    file = tmp_path / f"weights.{kind}"
    if kind == "safetensors":
        save_file(state, file)
    else:
        torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, file)
    net = load_published(file, SPEC, Recipe()).net()
    assert torch.equal(logits(net), logits(build(SPEC, seed=7)))


def test_a_normalisation_in_the_file_is_not_overruled_in_silence(tmp_path):
    spec = dataclasses.replace(SPEC, mean=(0.5,) * 3, std=(0.25,) * 3)
    torch.save(build(spec, seed=7).state_dict(), tmp_path / "whole.pt")
    net = load_published(tmp_path / "whole.pt", SPEC, Recipe()).net()
    assert torch.equal(logits(net), logits(build(spec, seed=7)))
    with pytest.raises(InputError, match=r"has a normalisation of its own \(normalise\.mean, norm"):
        load_published(tmp_path / "whole.pt", SPEC, Recipe(), normalised=True)


def test_files_without_counts_and_with_trades_s_unused_block_load(tmp_path):
    spec = dataclasses.replace(SPEC, name="wrn10-1", width=1.0)
    state = {n: t for n, t in weights(spec).items() if "num_batches_tracked" not in n}
    torch.save(state | {"sub_block1.layer.0.conv1.weight": torch.zeros(1)}, tmp_path / "wrn.pt")
    net = load_published(tmp_path / "wrn.pt", spec, Recipe()).net()
    assert torch.equal(logits(net), logits(build(spec, seed=7)))


def test_each_key_that_does_not_fit_is_named(tmp_path):
    state = weights()
    state["fc.weight"] = state.pop("linear.weight")
    state["conv1.weight"] = state["conv1.weight"][:3]
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(InputError) as caught:
        load_published(tmp_path / "other.pt", SPEC, Recipe())
    for words in (
        "linear.weight is missing",
        "fc.weight is not in the network",
        "conv1.weight is (3, 3, 3, 3), in the network (8, 3, 3, 3)",
        "choose another network by --model.name",
    ):
        assert words in str(caught.value)
    assert "layer1.0.conv1.weight" not in str(caught.value)


def test_a_message_on_another_network_has_at_most_six_lines(tmp_path):
    other = build(dataclasses.replace(SPEC, name="vgg11", width=1.0), seed=0).state_dict()
    torch.save({"module." + name: tensor for name, tensor in other.items()}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"and \d+ more") as caught:
        load_published(tmp_path / "other.pt", SPEC, Recipe())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 6 * 120


def test_values_that_are_not_finite_are_named(tmp_path):
    state = weights()
    state["layer2.0.bn1.running_var"][3] = torch.nan
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(InputError, match=r"values in layer2\.0\.bn1\.running_var that are not finite"):
        load_published(tmp_path / "nan.pt", SPEC, Recipe())


class Harmful:
    def __reduce__(self):
        return (print, ("this must never be printed",))


def saved(content):
    return lambda path: torch.save(content, path)


UNREADABLE = {
    "folder": (lambda path: path.mkdir(), r"is a folder: name the file in it, as .*best\.safetensors"),
    "absent": (lambda path: None, r"there is no file .*bad\.pt"),
    "code": (lambda path: path.write_bytes(pickle.dumps(Harmful())), "more than weights|damaged"),
    "empty": (lambda path: path.write_bytes(b""), "damaged"),
    "text": (lambda path: path.write_bytes(b"not a checkpoint at all"), "more than weights|damaged"),
    "list": (saved([1, 2]), "holds no state dict"),
    "no tensors": (saved({"epoch": 3}), "holds no state dict"),
    "wrapped texts": (saved({"state_dict": {"a": "b"}}), "holds no state dict"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_file_of_a_state_dict_is_refused_and_never_run(case, tmp_path, capsys):
    write, words = UNREADABLE[case]
    write(tmp_path / "bad.pt")
    with pytest.raises(InputError, match=words):
        load_published(tmp_path / "bad.pt", SPEC, Recipe())
    assert "never be printed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "mean", "std"),
    [
        ("none", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ("cifar10", SPECS["cifar10"].mean, SPECS["cifar10"].std),
        ("0.5,0.25", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        ("0.1,0.2,0.3,0.4,0.5,0.6", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
    ],
)
def test_normalisation_by_name_or_number(text, mean, std):
    assert parse_normalisation(text, SPECS["cifar10"]) == (mean, std)


@pytest.mark.parametrize("text", ["", "cifar-10", "0.5,0", "0.5,nan", "1,2,3", "mnist"])
def test_a_normalisation_that_makes_no_sense_is_refused(text):
    with pytest.raises(InputError, match="normalis"):
        parse_normalisation(text, SPECS["cifar10"])
