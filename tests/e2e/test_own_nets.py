"""A user's network goes the whole way, search, training and evaluation, from Python and by name."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import user_nets
from PIL import Image
from torch import Tensor
from user_nets import CLASSES, NETS, Parametrised, Tied, mobile

import robust_tickets
from robust_tickets.cli.main import main
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import fold, foldable_batchnorms
from robust_tickets.stages.unsupported import unsupported_parts
from robust_tickets.tickets.compact_net import compact_net
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint

# a network predicts one class after a step or two, and sanity checks of it fail
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*the net collapsed"),
    pytest.mark.filterwarnings("ignore::robust_tickets.base.errors.RobustnessWarning"),
]
SIDE = 32
FIELDS = {
    "search": {"method": "fgsm", "epochs": 1, "batch": 10, "lr": 0.02, "ratio": 0.5, "rounds": 2},
    "train": {"method": "fgsm", "epochs": 1, "ticket_epochs": 1, "batch": 10, "lr": 0.02},
    "evaluate": {"val_steps": 1, "batch": 20},
    "compute": {"threads": 1},
}


def images_of(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images whose brightness tells the class, more or less."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    images = torch.randint(128, (n, 3, SIDE, SIDE), generator=generator) + 12 * labels[:, None, None, None]
    return images.to(torch.uint8), labels


@pytest.fixture(scope="module")
def images() -> Dataset:
    return robust_tickets.images(images_of(50, 0), images_of(20, 1), val_images=20)


@pytest.mark.parametrize(
    "make", [pytest.param(make, marks=pytest.mark.slow) if make is mobile else make for make in NETS]
)
def test_a_network_goes_the_whole_way_from_python(make, images, capsys):
    parameters, prunable, _, warnings = NETS[make]
    ticket = robust_tickets.find_ticket(make, images, **FIELDS)
    err = capsys.readouterr().err
    assert all(warning in err for warning in warnings)
    assert ticket.mask.size == prunable
    once = prunable - round(prunable / 2)
    assert ticket.mask.count == once - round(once / 2)

    trained = robust_tickets.train(make, images, ticket, **FIELDS)
    net = trained.net
    assert sum(p.numel() for p in make().parameters()) == parameters
    mask, init = dict(ticket.mask), ticket.init
    if make is not Parametrised:  # torch-pruning cannot follow it; the others lose their dead channels
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


@pytest.mark.parametrize("make", NETS)
def test_unsupported_parts_are_listed(make):
    _, _, folded, warnings = NETS[make]
    lines = unsupported_parts(make())
    assert all(line.startswith(warning) for line, warning in zip(lines, warnings, strict=True))
    assert len(foldable_batchnorms(make())) == folded


@pytest.mark.parametrize("make", NETS)
def test_the_folded_network_is_equal(make):
    torch.manual_seed(0)
    net, points = make().double(), torch.rand(8, 3, SIDE, SIDE, dtype=torch.float64)
    with torch.no_grad():
        net.train()(points)
    net.eval()
    outputs = []
    for version in (net, fold(net)):
        leaf = points.clone().requires_grad_(True)
        logits = version(leaf)
        outputs.append((logits.detach(), *torch.autograd.grad(logits[:, 0].sum(), leaf)))
    torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-10)


def test_tied_weights_stay_tied(images):
    ticket = robust_tickets.find_ticket(Tied, images, **FIELDS)
    assert set(ticket.mask) == {"first.weight", "one.weight", "head.weight"}
    net = robust_tickets.train(Tied, images, ticket, **FIELDS).net
    assert net.one.weight is net.other.weight
    assert not net.other.weight[~ticket.mask["one.weight"]].any()


NAMED = "--data.root photos --model.name my_nets:{}"
RECIPE = """
data = { name = "folder", val_images = 8 }
search = { method = "fgsm", epochs = 1, batch = 8, lr = 0.02, ratio = 0.5 }
train = { method = "fgsm", epochs = 1, ticket_epochs = 1, batch = 8, lr = 0.02 }
evaluate = { val_steps = 1, batch = 20 }
compute = { threads = 1 }
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a module of networks, a recipe, and a folder of images of two classes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    shutil.copy(user_nets.__file__, tmp_path / "my_nets.py")
    (tmp_path / "own.toml").write_text(RECIPE)
    random = np.random.default_rng(0)
    for part, n in (("train", 16), ("test", 6)):
        for brightness, label in ((0, "dark"), (100, "light")):
            folder = tmp_path / "photos" / part / label
            folder.mkdir(parents=True)
            for number in range(n):
                pixels = random.integers(0, 156, (SIDE, SIDE, 3)) + brightness
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    yield tmp_path
    sys.modules.pop("my_nets", None)


@pytest.fixture
def call(here, capsys):
    """Run a command; gives the path in its last line."""

    def run(words: str) -> Path:
        main(words.split())
        return Path(capsys.readouterr().out.splitlines()[-1])

    return run


def test_a_network_goes_the_whole_way_by_name(call):
    named = NAMED.format("two")
    file = call(f"search --recipe own.toml {named}")
    ticket = Ticket.load(file)
    model = ticket.model
    assert (model.name, model.classes, model.shape) == ("my_nets:two", 2, (3, SIDE, SIDE))
    assert ticket.mask.count == ticket.mask.size - round(ticket.mask.size / 2)

    folder = call(f"train --recipe own.toml {named} --ticket {file}")
    assert folder == file.parents[1] / "ticket"
    state = Checkpoint.load(folder / "best.safetensors").state
    mask = compact_net(user_nets.two(), ticket.mask, model.shape).plan.narrow(ticket.mask)
    assert all(not state[weight][~kept].any() for weight, kept in mask.items())

    rows = pd.read_csv(call(f"evaluate {folder}/best.safetensors {named} --attacks pgd-2"))
    assert list(rows.attack) == ["clean", "pgd-2", "worst-case(clean pgd-2)"]
    assert set(rows.n) == {12}
    assert rows.accuracy[0] >= rows.accuracy[1] == rows.accuracy[2]
