"""Nets of the user's own go the whole way, search, training and evaluation, by Python and by name."""

import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import robust_tickets
from robust_tickets.cli.main import main
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import fold, foldable_batchnorms
from robust_tickets.stages.unsupported import unsupported_parts
from robust_tickets.tickets.compact_net import compact_net
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint

# trainings of a step or two get one class right, and say so
pytestmark = pytest.mark.filterwarnings("ignore:.*the net collapsed")

SIDE, CLASSES = 32, 10
FIELDS = {
    "search": {"method": "fgsm", "epochs": 1, "batch": 10, "lr": 0.02, "ratio": 0.5, "rounds": 2},
    "train": {"method": "fgsm", "epochs": 1, "ticket_epochs": 1, "batch": 10, "lr": 0.02},
    "evaluate": {"val_steps": 1, "batch": 20},
    "compute": {"threads": 1},
}


def mobile() -> nn.Module:
    return torchvision.models.mobilenet_v2(num_classes=CLASSES)


def transformer() -> nn.Module:
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=CLASSES
    )


class Grouped(nn.Module):
    """Grouped and depthwise convolutions, each before a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 16, 3, 2, padding=1, bias=False), nn.BatchNorm2d(16)
        self.grouped, self.norm2 = nn.Conv2d(16, 32, 3, 2, padding=1, groups=4), nn.BatchNorm2d(32)
        self.depthwise, self.norm3 = nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.BatchNorm2d(32)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.first(x)).relu()
        x = self.norm2(self.grouped(x)).relu()
        return self.head(self.norm3(self.depthwise(x)).relu().mean((2, 3)))


class Twice(nn.Module):
    """One convolution and one BatchNorm, run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 16, 3, 2, padding=1), nn.BatchNorm2d(16)
        self.again, self.norm2 = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.first(x)).relu()
        for _ in range(2):
            x = self.norm2(self.again(x)).relu()
        return self.head(x.mean((2, 3)))


class Tied(nn.Module):
    """Two linear layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3, 2, padding=1), nn.BatchNorm2d(16)
        self.one, self.other = nn.Linear(16, 16), nn.Linear(16, 16)
        self.other.weight = self.one.weight
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).relu().mean((2, 3))
        return self.head(self.other(F.relu(self.one(x))))


class Parametrised(nn.Module):
    """A convolution whose weight is computed from a direction and a length."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 16, 3, 2, padding=1), nn.BatchNorm2d(16)
        self.second, self.norm2 = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        parametrizations.weight_norm(self.second)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm2(self.second(self.norm1(self.first(x)).relu()))
        return self.head(x.relu().mean((2, 3)))


# net -> parameters, prunable weights, BatchNorms folded, and what is said to be left alone
NETS = {
    mobile: (2_236_682, 2_202_560, 52, []),
    transformer: (
        24_234,
        # patches, two layers' outputs and feed-forwards, the head
        3 * 64 * 32 + 2 * (32 * 32 + 2 * 32 * 64) + 320,
        0,
        [
            "not pruned: 6,720 of 24,234 parameters belong to no convolution or linear layer (class_token, "
            "encoder.pos_embedding, encoder.layers.encoder_layer_0.self_attention.in_proj_weight, ...)"
        ],
    ),
    Grouped: (2_426, 432 + 1152 + 288 + 320, 3, []),
    Twice: (3_002, 432 + 2304 + 160, 1, ["not folded for the attack: 1 of 2 BatchNorms"]),
    Parametrised: (
        3_018,  # 16 lengths more
        432 + 160,
        1,
        [
            "not pruned: 2,320 of 3,018 parameters only go into weights that are computed",
            "not folded for the attack: 1 of 2 BatchNorms",
        ],
    ),
    Tied: (938, 432 + 256 + 160, 1, []),
}


def noise(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images whose brightness tells the class, more or less."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    images = torch.randint(128, (n, 3, SIDE, SIDE), generator=generator) + 12 * labels[:, None, None, None]
    return images.to(torch.uint8), labels


@pytest.fixture(scope="module")
def images() -> Dataset:
    return robust_tickets.images(noise(50, 0), noise(20, 1), val_images=20)


@pytest.fixture(params=NETS, ids=lambda make: make.__name__)
def make(request):
    return request.param


@pytest.mark.filterwarnings("ignore::robust_tickets.base.errors.RobustnessWarning")  # nets of two steps
def test_a_net_goes_the_whole_way_by_python(make, images, capsys):
    parameters, prunable, _, said = NETS[make]
    ticket = robust_tickets.find_ticket(make, images, **FIELDS)
    told = capsys.readouterr().err
    assert all(line in told for line in said)
    assert ticket.mask.size == prunable
    once = prunable - round(prunable / 2)
    assert ticket.mask.count == once - round(once / 2)

    trained = robust_tickets.train(make, images, ticket, quiet=True, **FIELDS)
    net = trained.net
    assert sum(p.numel() for p in make().parameters()) == parameters
    mask, init = dict(ticket.mask), ticket.init
    if (
        make is not Parametrised
    ):  # which torch-pruning cannot follow; of the others dead channels are left out
        plan = compact_net(make(), ticket.mask, images.spec.shape).plan
        mask, init = plan.narrow(mask), plan.narrow(init)
    assert {n: t.shape for n, t in net.state_dict().items()} == {n: t.shape for n, t in init.items()}
    for name, kept in mask.items():
        weight = net.get_parameter(name)
        assert not weight[~kept].any()
        assert (weight != init[name])[kept].any()
    assert trained.ledger["passes"]["attack"]["forward"] == 30
    assert trained.ledger["flops"]["attack"] == 30 * 2 * forward_flops(net, images.spec.shape)

    rows = robust_tickets.evaluate(net, images, attacks=["fgsm", "pgd-2"], **FIELDS).set_index("attack")
    with torch.no_grad():
        right = net(images.test.images / 255).argmax(1) == images.test.labels
    assert rows.accuracy["clean"] == pytest.approx(float(right.double().mean()))
    assert (rows.accuracy <= rows.accuracy["clean"]).all()


def test_what_is_left_alone_is_said(make):
    _, _, folded, said = NETS[make]
    lines = unsupported_parts(make())
    assert len(lines) == len(said)
    assert all(line.startswith(words) for line, words in zip(lines, said, strict=True))
    assert len(foldable_batchnorms(make())) == folded


def test_the_folded_view_is_the_net(make):
    torch.manual_seed(0)
    net, points = make().double(), torch.rand(8, 3, SIDE, SIDE, dtype=torch.float64)
    with torch.no_grad():
        net.train()(points)
    net.eval()
    gradients = []
    for each in (net, fold(net)):
        leaf = points.clone().requires_grad_(True)
        logits = each(leaf)
        gradients.append((logits.detach(), torch.autograd.grad(logits[:, 0].sum(), leaf)[0]))
    (ours, slope), (expected, true_slope) = gradients[1], gradients[0]
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(slope, true_slope, rtol=1e-9, atol=1e-10)


def test_a_net_of_tied_weights_keeps_them_tied(images):
    ticket = robust_tickets.find_ticket(Tied, images, quiet=True, **FIELDS)
    assert set(ticket.mask) == {"first.weight", "one.weight", "head.weight"}
    net = robust_tickets.train(Tied, images, ticket, quiet=True, **FIELDS).net
    assert net.one.weight is net.other.weight
    assert not net.other.weight[~ticket.mask["one.weight"]].any()


MODULE = """
import torchvision
from torch import nn

def mobile():
    return torchvision.models.mobilenet_v2(num_classes=2)

def transformer():
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=2
    )

def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))

print("imported")
"""
RECIPE = """
[data]
name = "folder"
val_images = 8

[search]
method = "fgsm"
epochs = 1
batch = 8
lr = 0.02
ratio = 0.5

[train]
method = "fgsm"
epochs = 1
ticket_epochs = 1
batch = 8
lr = 0.02

[evaluate]
val_steps = 1
batch = 20

[compute]
threads = 1
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a module of nets, a recipe, and a folder of images of two classes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whole_way_nets.py").write_text(MODULE)
    (tmp_path / "own.toml").write_text(RECIPE)
    random = np.random.default_rng(0)
    for part, n in (("train", 16), ("test", 6)):
        for brightness, kind in ((0, "dark"), (100, "light")):
            folder = tmp_path / "photos" / part / kind
            folder.mkdir(parents=True)
            for number in range(n):
                pixels = random.integers(0, 156, (SIDE, SIDE, 3)) + brightness
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    yield tmp_path
    sys.modules.pop("whole_way_nets", None)


def last_line(capsys) -> Path:
    return Path(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("net", ["mobile", "transformer"])
def test_a_net_goes_the_whole_way_by_name(net, here, capsys):
    name = f"whole_way_nets:{net}"
    words = ["--recipe", "own.toml", "--model.name", name, "--data.root", "photos"]
    main(["search", *words])
    file = last_line(capsys)
    ticket = Ticket.load(file)
    assert (ticket.model.name, ticket.model.classes, ticket.model.shape) == (name, 2, (3, SIDE, SIDE))
    assert ticket.mask.count == ticket.mask.size - round(ticket.mask.size / 2)

    main(["train", *words, "--ticket", str(file)])
    folder = last_line(capsys)
    assert folder == file.parents[1] / "ticket"
    checkpoint = Checkpoint.load(folder / "best.safetensors")
    made = importlib.import_module("whole_way_nets")
    mask = compact_net(getattr(made, net)(), ticket.mask, ticket.model.shape).plan.narrow(ticket.mask)
    assert all(not checkpoint.state[weight][~kept].any() for weight, kept in mask.items())
    params = json.loads((folder / "arm.json").read_text())["params"]
    whole = sum(t.numel() for n, t in ticket.init.items() if "running" not in n and "num_batches" not in n)
    assert params <= whole - (ticket.mask.size - ticket.mask.count)

    best = str(folder / "best.safetensors")
    main(["evaluate", best, "--model.name", name, "--data.root", "photos", "--attacks", "pgd-2"])
    rows = pd.read_csv(last_line(capsys)).set_index("attack")
    assert list(rows.index) == ["clean", "pgd-2", "worst-case(clean pgd-2)"]
    assert set(rows.n) == {12}
    assert rows.accuracy["clean"] >= rows.accuracy["pgd-2"] == rows.accuracy["worst-case(clean pgd-2)"]


def test_no_code_is_run_because_a_file_names_it(here, capsys):
    name = "whole_way_nets:plain"
    words = ["--recipe", "own.toml", "--data.root", "photos"]
    main(["train", *words, "--model.name", name])
    best = str(last_line(capsys) / "best.safetensors")
    before = {p: p.stat().st_mtime_ns for p in here.rglob("*") if p.name != ".lock"}
    del sys.modules["whole_way_nets"]
    for verb in (["evaluate", best, "--data.root", "photos"], ["export", best]):
        with pytest.raises(SystemExit, match="2"):
            main(verb)
        captured = capsys.readouterr()
        assert "no code is run because a file names it: name the function" in captured.err
        assert f"--model.name {name}" in captured.err
        assert "imported" not in captured.out
        assert "whole_way_nets" not in sys.modules
    for other, message in (
        ("whole_way_nets:mobile", "makes another network than the checkpoint's"),
        ("no_such_nets:x", "failed"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["evaluate", best, "--data.root", "photos", "--model.name", other])
        assert re.search(message, capsys.readouterr().err)
    assert {
        p: p.stat().st_mtime_ns for p in here.rglob("*") if not {"__pycache__", ".lock"} & set(p.parts)
    } == {p: time for p, time in before.items() if "__pycache__" not in p.parts}


@pytest.mark.parametrize("verb", ["search", "train", "compare", "compare --dry-run"])
@pytest.mark.parametrize(
    "extra", ["--device nonsense", "--model.name whole_way_nets:plane", "--model.width 2"]
)
def test_mistakes_are_answered_before_anything_is_written(verb, extra, here, capsys):
    words = ["--recipe", "own.toml", "--data.root", "photos", "--model.name", "whole_way_nets:plain"]
    with pytest.raises(SystemExit, match="2"):
        main([*verb.split(), *words, *extra.split()])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert extra.split()[1] in said or "model.width" in said
    assert not (here / "runs").exists()
