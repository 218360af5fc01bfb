"""Checkpoints of others: prefixes on either side, averages beside raw weights, pruning masks."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.registry import ModelSpec, build
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.published_weights import load_published

SPEC = ModelSpec("resnet20", 0.5, (1, 8, 8), 10, (0.0,), (1.0,))
RAW = {name: value for name, value in build(SPEC, seed=7).state_dict().items() if "normalise" not in name}
EMA = {name: value * 0.5 if value.is_floating_point() else value for name, value in RAW.items()}
COUNT = torch.tensor(3)


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def load(content, tmp_path, spec=SPEC, make=None, **options):
    """The state dict that is chosen, and the lines that are logged."""
    lines = []
    torch.save(content, tmp_path / "weights.pt")
    checkpoint = load_published(tmp_path / "weights.pt", spec, Recipe(), make, log=lines.append, **options)
    return checkpoint.state, lines


def assert_is(state, expected):
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


def small():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    )


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = small()

    def forward(self, images):
        return self.model(images)


def parallel():
    return nn.DataParallel(small())


def compiled():
    return torch.compile(small(), backend="eager")


@pytest.mark.parametrize("saved", [small, Wrapped, parallel, compiled])
@pytest.mark.parametrize("make", [small, Wrapped, parallel, compiled])
def test_prefixes_may_be_on_either_side(saved, make, tmp_path):
    spec = ModelSpec("my_nets:make", 1.0, (3, 8, 8), 4, (0.0,) * 3, (1.0,) * 3)
    net = saved()
    state, _ = load(net.state_dict(), tmp_path, spec, make)
    assert list(state) == list(make().state_dict())
    for value, expected in zip(state.values(), net.state_dict().values(), strict=True):
        assert torch.equal(value, expected)


def test_wrappers_within_names_are_removed(tmp_path):
    state = {name.replace("layer2.", "layer2._orig_mod."): value for name, value in RAW.items()}
    assert_is(load(prefixed("module.", state), tmp_path)[0], RAW)


BOTH = {
    "keys": {"state_dict": RAW, "model_ema": prefixed("module.", EMA) | {"n_averaged": COUNT}, "epoch": 3},
    "nested": {"state_dict": RAW, "ema": {"decay": 0.9, "shadow": EMA}},
    "one dictionary": {"state_dict": prefixed("model.", RAW) | prefixed("ema_model.module.", EMA)},
    "plain and prefixed": RAW | prefixed("swa.", EMA),
    "ema_pytorch": prefixed("online_model.", RAW) | prefixed("ema_model.", EMA) | {"step": COUNT},
    "parameters alone": {
        "net": RAW,
        "ema": {n: v for n, v in EMA.items() if n in dict(build(SPEC, seed=0).named_parameters())},
    },
}


@pytest.mark.parametrize("form", BOTH)
def test_the_choice_between_raw_and_averaged_weights_is_said_and_asked_for_by_a_flag(form, tmp_path):
    state, lines = load(BOTH[form], tmp_path)
    assert_is(state, RAW)
    assert "(averaged)" in lines[-1]
    assert "others by --model.weights" in lines[-1]
    assert_is(load(BOTH[form], tmp_path, weights="raw")[0], RAW)
    state, lines = load(BOTH[form], tmp_path, weights="averaged")
    if form == "parameters alone":
        assert torch.equal(state["bn1.running_var"], RAW["bn1.running_var"])
        assert "has no buffers" in lines[0]
        assert torch.equal(state["conv1.weight"], EMA["conv1.weight"])
    else:
        assert_is(state, EMA)


def listed(state):
    """What torch_ema saves beside the weights."""
    names = [name for name, _ in build(SPEC, seed=0).named_parameters()]
    return {
        "decay": 0.99,
        "num_updates": 7,
        "shadow_params": [state[n] for n in names],
        "collected_params": None,
    }


def test_averages_in_a_list_are_mapped_by_the_order_of_the_parameters(tmp_path):
    content = {"model": RAW, "ema": listed(EMA)}
    state, lines = load(content, tmp_path)
    assert_is(state, RAW)
    assert "ema/shadow_params (averaged): model is used; others by --model.weights" in lines[-1]
    for wish in ("averaged", "shadow_params", "ema/shadow_params"):
        state, lines = load(content, tmp_path, weights=wish)
        assert torch.equal(state["layer1.0.conv1.weight"], EMA["layer1.0.conv1.weight"])
        assert torch.equal(state["bn1.running_var"], RAW["bn1.running_var"])
        assert lines[-1] == "the weights are averages over training: ema/shadow_params"


@pytest.mark.parametrize("cut", [slice(1, None), slice(None, None, -1)])
def test_averages_in_a_list_that_does_not_fit_are_said_to_be_left_out(cut, tmp_path):
    ema = listed(EMA)
    ema["shadow_params"] = ema["shadow_params"][cut]
    state, lines = load({"model": RAW, "ema": ema}, tmp_path)
    assert_is(state, RAW)
    (line,) = lines
    assert line.startswith(f"left out: ema/shadow_params, a list of {len(ema['shadow_params'])} tensors")


def test_a_list_of_another_kind_is_passed_over(tmp_path):
    content = {"model": RAW, "losses": [torch.zeros(())] * 3, "optimizer": {"ema": listed(EMA)}}
    assert load(content, tmp_path)[1] == []


@pytest.mark.parametrize("content", [(RAW, 3), [{"epoch": 3}, {"model": prefixed("module.", RAW)}]])
def test_weights_may_be_in_a_list(content, tmp_path):
    state, lines = load(content, tmp_path)
    assert_is(state, RAW)
    assert lines == []


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(name, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    for load in (lambda file: load_published(file, SPEC, Recipe()), Checkpoint.load):
        with pytest.raises(InputError, match=r"^cannot read .* \(Permission denied\): make it readable"):
            load(tmp_path / name)


def test_averages_alone_are_used_and_said(tmp_path):
    content = prefixed("module.", EMA) | {"n_averaged": COUNT}
    state, lines = load(content, tmp_path)
    assert_is(state, EMA)
    assert lines == ["the weights are averages over training: module"]
    with pytest.raises(InputError, match=r"no weights 'raw' that fit, but module \(averaged\)"):
        load(content, tmp_path, weights="raw")


def test_of_several_weights_the_usual_key_is_used_else_one_is_to_be_named(tmp_path):
    state, lines = load({"best_state_dict": EMA, "state_dict": RAW}, tmp_path)
    assert_is(state, RAW)
    assert "state_dict is used" in lines[0]
    with pytest.raises(
        InputError, match=r"several weights that fit, a .*, b .*: name one, as --model.weights a"
    ):
        load({"a": EMA, "b": RAW}, tmp_path)
    assert_is(load({"a": EMA, "b": RAW}, tmp_path, weights="b")[0], RAW)
    assert load({"a": RAW, "b": RAW}, tmp_path)[1] == []


@pytest.mark.parametrize("prefix", ["", "module."])
def test_masks_of_torch_s_pruning_are_applied(prefix, tmp_path):
    state = dict(RAW)
    weight = state.pop("conv1.weight")
    mask = (torch.arange(weight.numel()) % 2).float().view_as(weight)
    state |= {"conv1.weight_orig": weight, "conv1.weight_mask": mask}
    state, _ = load({"net": prefixed(prefix, state)}, tmp_path)
    assert torch.equal(state["conv1.weight"], weight * mask)
    assert not torch.signbit(state["conv1.weight"][mask == 0]).any()


def test_other_contents_beside_weights_are_passed_over_and_never_imported(tmp_path):
    others = {"accuracy": np.float64(0.9), "losses": np.zeros(3), "args": argparse.Namespace(data=Path("/x"))}
    assert_is(load({"state_dict": RAW, **others}, tmp_path)[0], RAW)
    torch.save({"state_dict": RAW, **others}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    others = {"accuracy": np.float64(0.9), "epochs": np.int64(3)}
    torch.save({"state_dict": RAW, **others}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert_is(load_published(tmp_path / "old.pt", SPEC, Recipe()).state, RAW)


def test_counters_and_losses_are_passed_over(tmp_path):
    state = prefixed("model.", RAW | {"total_ops": COUNT, "layer1.total_params": COUNT})
    assert_is(load(state | {"criterion.weight": torch.ones(10)}, tmp_path)[0], RAW)


def test_a_normalisation_under_another_name_is_to_be_named(tmp_path):
    state = prefixed("1.", RAW) | {"0.mean": torch.full((1,), 0.25), "0.std": torch.ones(1)}
    with pytest.raises(InputError, match=r"0\.mean = \[0\.25\].*give it by --model.normalise"):
        load(state, tmp_path)
    state, lines = load(state, tmp_path, normalised=True)
    assert_is(state, RAW)
    assert "left out: the file's own normalisation (0.mean, 0.std)" in lines[0]


def test_averages_under_names_that_do_not_fit_are_left_out_aloud(tmp_path):
    averages = {name.replace(".", ""): value for name, value in EMA.items()}
    state = prefixed("model.", RAW) | prefixed(
        "model_ema.", averages | {"decay": COUNT, "num_updates": COUNT}
    )
    state, lines = load({"state_dict": state}, tmp_path)
    assert_is(state, RAW)
    assert "left out: averaged weights whose names do not fit" in lines[-1]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("kind", ["script", "export"])
def test_a_program_is_named(kind, tmp_path):
    if kind == "script":
        torch.jit.trace(small().eval(), torch.rand(1, 3, 8, 8)).save(tmp_path / "net.pt")
    else:
        torch.export.save(
            torch.export.export(small().eval(), (torch.rand(1, 3, 8, 8),)), tmp_path / "net.pt2"
        )
    (file,) = tmp_path.iterdir()
    with pytest.raises(InputError, match=r"is a program .*save its state_dict"):
        load_published(file, SPEC, Recipe())


def test_other_parts_of_a_network_are_not_passed_over(tmp_path):
    with pytest.raises(InputError, match=r"extra\.running_mean is not in the network"):
        load(RAW | {"extra.running_mean": torch.ones(3)}, tmp_path)
    with pytest.raises(InputError, match=r"denoiser\.weight.*has other parts"):
        load(prefixed("classifier.", RAW) | {"denoiser.weight": COUNT}, tmp_path)
