"""Exported nets: they run without this package, and give the original's logits."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training_case import half_mask

from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.models.registry import ModelSpec, build
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.masking import Masking
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.training import export
from robust_tickets.training.checkpoint import Checkpoint

SPECS = {
    "lenet-300-100": ModelSpec("lenet-300-100", 0.2, (1, 8, 8), 10, (0.3,), (0.4,)),
    "conv-2": ModelSpec("conv-2", 0.125, (3, 16, 16), 10, (0.5,) * 3, (0.25,) * 3, dropout=0.5),
    "resnet20": ModelSpec("resnet20", 0.5, (3, 16, 16), 10, (0.5,) * 3, (0.25,) * 3),
    "vgg16-fc": ModelSpec("vgg16-fc", 0.125, (3, 32, 32), 10, (0.5,) * 3, (0.25,) * 3),
    "wrn10-1": ModelSpec("wrn10-1", 1.0, (3, 16, 16), 10, (0.5,) * 3, (0.25,) * 3),
}


def save(net, spec, path):
    Checkpoint(copy_state(net), spec, recipes.to_table(Recipe()), "0" * 16, "ticket", 0, 1, 0.5, 0.5).save(
        path
    )


def checkpoint_of(spec: ModelSpec, path):
    """A checkpoint of a ticket's net, half pruned, with BatchNorm statistics of its own."""
    net = build(spec, seed=3)
    mask = half_mask(net)
    Masking(net, mask, {}).mask_parameters()
    with torch.no_grad():
        for _ in range(20):
            net.train()(torch.rand(16, *spec.shape))
    save(net, spec, path)
    return net.eval(), mask


@pytest.fixture(
    params=[
        name if name in ("conv-2", "resnet20") else pytest.param(name, marks=pytest.mark.slow)
        for name in SPECS
    ]
)
def exported(request, tmp_path):
    """A spec, its checkpoint, and the network and mask in it."""
    file = tmp_path / "best.safetensors"
    return SPECS[request.param], file, *checkpoint_of(SPECS[request.param], file)


def images_of(spec, n):
    return torch.rand(n, *spec.shape, generator=torch.Generator().manual_seed(n))


def test_a_torch_program_runs_where_this_package_is_not(exported, tmp_path):
    spec, file, net, _ = exported
    result = export.export(file, "torch")
    batches = [images_of(spec, n) for n in (1, 7)]
    torch.save(batches, tmp_path / "images.pt")
    code = (
        "import sys, torch; sys.modules['robust_tickets'] = None; "
        f"net = torch.export.load({str(result.file)!r}).module(); "
        f"batches = torch.load({str(tmp_path / 'images.pt')!r}); "
        f"torch.save([net(images).detach() for images in batches], {str(tmp_path / 'out.pt')!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)
    for images, logits in zip(batches, torch.load(tmp_path / "out.pt"), strict=True):
        torch.testing.assert_close(logits, net(images).detach(), rtol=1e-5, atol=1e-5)


def test_an_onnx_model_gives_the_same_logits(exported):
    spec, file, net, _ = exported
    result = export.export(file, "onnx")
    session = onnxruntime.InferenceSession(str(result.file))
    for n in (1, 7):
        (logits,) = session.run(None, {"images": images_of(spec, n).numpy()})
        expected = net(images_of(spec, n)).detach().numpy()
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5 * max(1, np.abs(expected).max()))
    assert [p.name for p in file.parent.iterdir()].count("best.onnx") == 1  # no weights beside it
    assert not list(file.parent.glob("*.data"))


def test_bare_weights_are_the_net_s_with_the_ticket_applied(exported):
    _, file, net, mask = exported
    result = export.export(file, "safetensors")
    weights = load_file(result.file)
    assert weights.keys() == net.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in net.state_dict().items())
    assert all(bool((weights[name][~mask[name]] == 0).all()) for name in mask)


def test_a_sparse_file_is_the_checkpoint_in_less_room(exported):
    _, file, _, mask = exported
    result = export.export(file, "sparse")
    loaded, original = Checkpoint.load(result.file), Checkpoint.load(file)
    assert loaded.meta() == original.meta()
    assert loaded.state.keys() == original.state.keys()
    for name, value in original.state.items():
        assert torch.equal(
            value.reshape(-1, 1).view(torch.uint8), loaded.state[name].reshape(-1, 1).view(torch.uint8)
        )
    # half of the weights are left out; there are two bits for each
    saved = file.stat().st_size - result.file.stat().st_size
    assert saved > 4 * mask.size * (1 - mask.density - 2 / 32) - 9999


def test_the_command_line_writes_beside_the_checkpoint_and_says_how_far_it_is(tmp_path, capsys):
    file = tmp_path / "best.safetensors"
    checkpoint_of(SPECS["lenet-300-100"], file)
    main(["export", str(file)])
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "best.pt2")
    main(["export", str(file), "--format", "onnx", "--out", str(tmp_path / "mine.onnx")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(tmp_path / "mine.onnx")
    assert "differ" in lines[-2]


class Chance(nn.Module):
    """A net whose logits cannot be had again."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images):
        return self.linear(images.flatten(1)) + torch.rand(10)


@pytest.mark.parametrize("form", ["safetensors", "sparse", "torch"])
def test_the_checkpoint_itself_is_not_written_over(form, tmp_path):
    file = tmp_path / "best.safetensors"
    checkpoint_of(SPECS["lenet-300-100"], file)
    before = file.read_bytes()
    with pytest.raises(InputError, match="is the file that is read, and would be lost"):
        export.export(file, form, file)
    assert file.read_bytes() == before


def test_a_net_that_differs_from_the_original_leaves_no_file(tmp_path):
    file = tmp_path / "best.safetensors"
    save(Chance(), replace(SPECS["lenet-300-100"], name="mine:Chance"), file)
    with pytest.raises(InputError, match=r"logits differ .* more than 1e-05"):
        export.export(file, "safetensors", make=Chance)
    assert [p.name for p in tmp_path.iterdir()] == ["best.safetensors"]


class Branching(Chance):
    """A net whose way depends on what it sees, which no tracer can follow."""

    def forward(self, images):
        logits = self.linear(images.flatten(1))
        return logits if float(logits.detach().sum()) > 0 else -logits


@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_a_net_that_cannot_be_traced_is_said_and_leaves_no_file(form, tmp_path):
    file = tmp_path / "best.safetensors"
    save(Branching(), replace(SPECS["lenet-300-100"], name="mine:Branching"), file)
    with pytest.raises(InputError, match=f"cannot be exported as {form} .*--format; safetensors"):
        export.export(file, form, make=Branching)
    assert [p.name for p in tmp_path.iterdir()] == ["best.safetensors"]
    assert export.export(file, "safetensors", make=Branching).file.is_file()


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_a_network_within_another_is_exported(wrap, tmp_path):
    def make():
        return wrap(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))

    spec, net, file = ModelSpec("my_nets:make", 1.0, (1, 8, 8), 10, (0.0,), (1.0,)), make(), tmp_path / "net"
    save(net, spec, file)
    program = torch.export.load(export.export(file, "torch", make=make).file).module()
    images = images_of(spec, 3)
    torch.testing.assert_close(program(images), net(images))
