"""Wrong calls, as a user types them: how they are run, and the files that they name."""

import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.cli.main import main
from robust_tickets.data import load
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Compute, Data, Evaluate, Model
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Search, Train
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint

TINY = Recipe(
    name="tiny",
    data=Data("digits", train_images=40, val_images=10),
    model=Model("lenet-300-100", width=0.05),
    search=Search(method="natural", epochs=1, batch=20),
    train=Train(method="natural", epochs=1, ticket_epochs=1, batch=20),
    evaluate=Evaluate(images=20, batch=20, val_steps=1),
    compute=Compute(threads=1),
)
NETS = """
import torch
from torch import nn

class Net(nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1))

class Blind(Net):
    def forward(self, x):
        return super().forward(x if self.training else x.detach())

def fine():
    return Net(64, 10)

def blind():
    return Blind(64, 10)
"""


def spec_of(shape=(1, 8, 8)):
    return ModelSpec("lenet-300-100", 0.05, shape, 10, (0.3,) * shape[0], (0.4,) * shape[0])


def save_ticket(file, spec, name=None):
    net = registry.build(spec, seed=0)
    model, search = replace(spec, name=name or spec.name), {"data": {"name": "digits"}}
    Ticket(model, copy_state(net), Mask.full(net), search, "0" * 16, 0, 1, 1).save(file)


def save_checkpoint(file, spec, state=None, recipe=TINY, fingerprint=None):
    state = copy_state(registry.build(spec, seed=0)) if state is None else state
    fingerprint = fingerprint or load.load(TINY.data).fingerprint
    Checkpoint(state, spec, recipes.to_table(recipe), fingerprint, "dense", 0, 1, 0.1, 0.1).save(file)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files that wrong calls name."""
    at = tmp_path_factory.mktemp("files")
    names = "away folder text tiny no_toml bad_field full run study ticket own_ticket"
    names += " checkpoint changed cifar diverged own blind"
    f = SimpleNamespace(**{name: at / name for name in names.split()})
    f.published = at / "published.pt"
    f.folder.mkdir()
    f.text.write_text("neither tensors nor images\n" * 100)
    f.tiny.write_text(recipes.to_toml(TINY))
    f.no_toml.write_text("[search\n")
    f.bad_field.write_text("[search]\nlrr = 0.1\n")
    f.full.mkdir()
    (f.full / "mine").touch()
    small = spec_of()
    save_ticket(f.ticket, small)
    save_ticket(f.own_ticket, small, name="own_nets:fine")
    save_checkpoint(f.checkpoint, small)
    whole = f.checkpoint.read_bytes()
    f.changed.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    colour = spec_of(shape=(3, 32, 32))
    save_checkpoint(f.cifar, colour, recipe=replace(TINY, data=Data("cifar10")), fingerprint="0" * 16)
    state = copy_state(registry.build(small, seed=0))
    save_checkpoint(f.diverged, small, {name: torch.full_like(t, torch.nan) for name, t in state.items()})
    torch.save({name: t for name, t in state.items() if not name.startswith("normalise")}, f.published)
    weights = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))
    for file, name in ((f.own, "fine"), (f.blind, "blind")):
        spec = ModelSpec(f"own_nets:{name}", 1.0, (1, 8, 8), 10, (0.0,), (1.0,))
        save_checkpoint(file, spec, {"weight": weights, "bias": torch.zeros(10)})
    RunDirectory(f.run, TINY).begin("cpu", {})
    f.study.mkdir()
    shutil.copy(f.run / "recipe.toml", f.study / "study.toml")
    (at / "own_nets.py").write_text(NETS)
    return f


@pytest.fixture
def call(files, tmp_path, monkeypatch, capsys):
    """Run the command line in a folder with the user's modules; gives its status and standard error."""
    for variable in [name for name in os.environ if name.startswith("ROBUST_TICKETS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "here").mkdir()
    shutil.copy(files.text.with_name("own_nets.py"), tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")

    def run(words):
        status = 0
        try:
            main(words.format(**vars(files)).split())
        except SystemExit as stop:
            status = stop.code
        return status, capsys.readouterr().err

    return run


@pytest.fixture
def refused(call, files, tmp_path, monkeypatch):
    """Check that a call is refused in one message with these words, before it trains or writes anything."""

    def fail(*arguments, **options):
        raise AssertionError("training began")

    def check(words, expected):
        folder = files.text.parent
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        random = torch.get_rng_state()
        Machine("cpu", SilentProgress()).prepare(TINY.compute.threads)  # takes a step of its own, once
        monkeypatch.setattr(torch.optim.Optimizer, "__init__", fail)
        status, err = call(words)
        assert status == 2
        assert "Traceback" not in err
        assert "<class '" not in err
        assert torch.equal(torch.get_rng_state(), random)
        *_, message = err.splitlines()
        assert message.startswith("robust-tickets: ")
        assert err.count("robust-tickets: ") == 1
        for word in expected.format(**vars(files)).split("; "):
            assert word in message, message
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
        results = (".safetensors", ".npz", ".jsonl", ".csv", ".svg")
        assert not [path for path in (tmp_path / "here").rglob("*") if path.suffix in results]

    return check
