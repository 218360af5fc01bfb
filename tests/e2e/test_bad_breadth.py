"""Wrong calls about own images, own nets, published weights, searches and tools."""

import shutil
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from robust_tickets.data.dataset import SPECS
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.state import copy_state

NETS = """
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))

def ten():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 10))

def other_size():
    return nn.Sequential(nn.Flatten(), nn.Linear(100, 2))

def nothing():
    pass

class Aux(nn.Linear):
    def forward(self, x):
        logits = super().forward(x.flatten(1))
        return (logits, logits) if self.training else logits

def aux():
    return Aux(192, 2)

class Blind(nn.Linear):
    def forward(self, x):
        return super().forward(x.detach().flatten(1))

def blind():
    return Blind(192, 2)

def needy(classes):
    return nn.Linear(192, classes)

made = nn.Identity()
number = 3
"""

FOLDER = "search --recipe demo --data.name folder --data.val-images 2 --data.root"
OWN = "search --recipe {pair_recipe} --model.name"

# verb and flags; then what the message must say. {x} is a file of the fixture `given`
ROWS = {
    "folder nowhere": ("search --recipe demo --data.name folder", "--data.root; ROBUST_TICKETS_FOLDER"),
    "folder missing": (f"{FOLDER} {{away}}", "{away}"),
    "one class": (f"{FOLDER} {{one}}", "decoding one; one class, 'cat'; two"),
    "no images": (f"{FOLDER} {{empty}}", "{empty}; no images"),
    "mixed sizes": (f"{FOLDER} {{mixed}}", "9.png; 9 x 9; 8 x 8; --data.resize"),
    "broken image": (f"{FOLDER} {{broken}}", "2.png; cat"),
    "archive of nothing": (f"{FOLDER} {{bad_archive}}", "{bad_archive}; no images"),
    "resize of a set with a size": ("search --recipe demo --data.resize 16", "data.resize; folder; digits"),
    "flipped digits": ("search --recipe demo --data.flip", "data.flip; folder; digits"),
    "own images on the command line": ("search --recipe demo --data.name own", "own; Python"),
    "set nowhere": (
        "search --recipe frankle-lenet",
        "MNIST; --data.root; ROBUST_TICKETS_MNIST; --data.download",
    ),
    "no set in the folder": ("search --recipe frankle-lenet --data.root {empty}", "{empty}; --data.root"),
    "module missing": (f"{OWN} away_module:net", "away_module:net; importing away_module failed"),
    "module broken": (f"{OWN} broken_nets:net", "broken_nets:net; ZeroDivisionError"),
    "function missing": (f"{OWN} nets_of_mine:nett", "nets_of_mine:nett; no nett"),
    "no function": (f"{OWN} nets_of_mine:number", "nets_of_mine:number; int; function"),
    "a net and no function": (f"{OWN} nets_of_mine:made", "nets_of_mine:made; function that returns"),
    "returns no net": (f"{OWN} nets_of_mine:nothing", "nets_of_mine:nothing; NoneType; nn.Module"),
    "wants arguments": (f"{OWN} nets_of_mine:needy", "nets_of_mine:needy; without arguments"),
    "other classes": (f"{OWN} nets_of_mine:ten", "nets_of_mine:ten; (2, 10); (2, 2); 2 classes"),
    "other images": (f"{OWN} nets_of_mine:other_size", "nets_of_mine:other_size; (2, 3, 8, 8)"),
    "auxiliary outputs": (
        f"{OWN} nets_of_mine:aux",
        "nets_of_mine:aux gives a tuple in training mode; auxiliary",
    ),
    "no gradient to images": (
        f"{OWN} nets_of_mine:blind",
        "nets_of_mine:blind gives no gradient to the images",
    ),
    "half a name": ("search --recipe demo --model.name nets_of_mine:", "'nets_of_mine:'; module:function"),
    "width of an own net": (f"{OWN} nets_of_mine:net --model.width 2", "model.width; nets_of_mine:net"),
    "own checkpoint untrusted": (
        "evaluate {own_checkpoint}",
        "nets_of_mine:net; --model.name nets_of_mine:net",
    ),
    "own checkpoint, other function": (
        "evaluate {own_checkpoint} --model.name nets_of_mine:ten",
        "nets_of_mine:ten fails on images; (2, 1, 8, 8)",
    ),
    "export of an untrusted net": ("export {own_checkpoint}", "--model.name nets_of_mine:net"),
    "no such wide net": ("search --recipe demo --model.name wrn35-10", "wrn35-10; 6n"),
    "dropout of a net without": ("search --recipe demo --model.dropout 0.5", "model.dropout; conv-2"),
    "ratio that empties a layer": (
        "search --recipe {emptying}",
        "leaves nothing of fc3.weight; search.output_ratio|search.ratio",
    ),
    "ratio of fc without its scope": ("search --recipe demo --search.fc-ratio 0.5", "search.fc_ratio; layer"),
    "spare that fits nothing": (
        "search --recipe {tiny} --search.ignored-layers conv*",
        "'conv*'; fc1.weight",
    ),
    "no convolution to spare": (
        "search --recipe {tiny} --search.no-prune-first-conv",
        "no convolution; search.prune_first_conv",
    ),
    "rewind too late": (
        "search --recipe {tiny} --search.rewind-iterations 99",
        "search.rewind_iterations; 99",
    ),
    "rewind in two ways": (
        "search --recipe demo --search.rewind-iterations 1 --search.rewind-epochs 1",
        "search.rewind_iterations; search.rewind_epochs; not both",
    ),
    "iterations of one kind": ("train --recipe demo --train.iterations 9", "train.ticket_iterations"),
    "milestones that fall": (
        "train --recipe demo --train.milestones 0.7 0.5",
        "train.milestones; 0.7 0.5; rise",
    ),
    "milestones without steps": (
        "train --recipe demo --train.schedule cosine --train.milestones 0.3",
        "train.milestones; cosine",
    ),
    "drop at the end": ("train --recipe demo --train.milestones 1", "train.milestones; below 1"),
    "published without a name": ("evaluate {published}", "{published}; --model.name; --data.name"),
    "published without data": ("evaluate {published} --model.name resnet18", "--data.name"),
    "published of another net": (
        "evaluate {published} --model.name resnet20 --data.name digits",
        "fc1.weight is not in the net; conv1.weight is missing; --model.name",
    ),
    "published and narrower": (
        "evaluate {published} --model.name lenet-300-100 --model.width 0.1 --data.name digits",
        "fc1.weight is (60, 64), in the net (30, 64)",
    ),
    "published, odd normalisation": (
        "evaluate {published} --model.name lenet-300-100 --model.width 0.2 --data.name digits "
        "--model.normalise 1,2,3",
        "'1,2,3'; MEAN,STD",
    ),
    "normalisation of ours": (
        "evaluate {checkpoint} --model.normalise cifar10",
        "--model.normalise; leave out",
    ),
    "runs of nothing": ("runs", "runs; list, rm"),
    "runs mistyped": ("runs lst", "'runs lst'; did you mean 'list'"),
    "runs nowhere": ("runs list --runs {away}", "{away}; --runs"),
    "rm of a folder": ("runs rm {one} --yes", "{one}; no run directory"),
    "cache mistyped": ("cache clean", "'cache clean'; did you mean 'clear'"),
    "export of a ticket": ("export {ticket}", "{ticket}; ticket; checkpoint"),
    "export in an odd format": ("export {checkpoint} --format tflite", "--format; 'tflite'; 'onnx'"),
    "export to nowhere": ("export {checkpoint} --out {text}/net.pt2", "cannot write; net.pt2"),
    "pictures to nowhere": (
        "evaluate {checkpoint} --save-images {text}/x",
        "{text}/x; cannot write; --save-images",
    ),
    "l2 in small letters": ("search --recipe demo --threat.norm l2", "--threat.norm; 'l2'; 'L2'"),
    "l2 with the radius of linf": (
        "search --recipe cifar10-cpu --threat.norm L2",
        "threat.eps 8/255; next to nothing in L2; 0.5",
    ),
    "linf beyond the box": ("search --recipe demo --threat.eps 8", "threat.eps; eps 8; out of range"),
}


def picture(path, side=8, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)).save(path)


def tree(root, classes):
    for part in ("train", "test"):
        for name in classes:
            for i in range(6):
                picture(root / part / name / f"{i}.png", seed=i)
    return root


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Files to be wrong with, by name."""
    at = tmp_path_factory.mktemp("given")
    names = (
        "away text tiny pair_recipe emptying published.pt own_checkpoint checkpoint ticket bad_archive.tar"
    )
    files = SimpleNamespace(**{name.split(".")[0]: at / name for name in names.split()})
    files.text.write_text("neither tensors nor images\n")
    files.one = tree(at / "one", ["cat"])
    files.pair = tree(at / "pair", ["cat", "dog"])
    files.empty = at / "empty"
    (files.empty / "train" / "cat").mkdir(parents=True)
    files.mixed = tree(at / "mixed", ["cat", "dog"])
    picture(files.mixed / "train" / "cat" / "9.png", side=9)
    files.broken = tree(at / "broken", ["cat", "dog"])
    file = files.broken / "train" / "cat" / "2.png"
    file.write_bytes(file.read_bytes()[:60])
    with tarfile.open(files.bad_archive, "w") as archive:
        archive.add(files.text, "train/cat/1.txt")
    toml = '[data]\nname = "digits"\ntrain_images = 40\nval_images = 10\n'
    toml += '[model]\nname = "lenet-300-100"\nwidth = 0.2\n[search]\nepochs = 1\nbatch = 20\n'
    files.tiny.write_text('name = "tiny"\n' + toml)
    files.emptying.write_text('name = "e"\n' + toml + 'scope = "layer"\noutput_ratio = 0.9999\n')
    files.pair_recipe.write_text('[data]\nname = "folder"\nval_images = 2\n[search]\nbatch = 4\n')
    files.pair_recipe = f"{files.pair_recipe} --data.root {files.pair}"
    spec = ModelSpec("lenet-300-100", 0.2, (1, 8, 8), 10, SPECS["digits"].mean, SPECS["digits"].std)
    state = copy_state(registry.build(spec, seed=0))
    torch.save({n: t for n, t in state.items() if not n.startswith("normalise")}, files.published)
    rest = (recipes.to_table(Recipe()), "0" * 16, "dense", 0, 1, 0.1, 0.1)
    Checkpoint(state, spec, *rest).save(files.checkpoint)
    own = {"1.weight": torch.zeros(10, 64), "1.bias": torch.zeros(10)}
    Checkpoint(own, ModelSpec("nets_of_mine:net", 1.0, (1, 8, 8), 10, (0.0,), (1.0,)), *rest).save(
        files.own_checkpoint
    )
    net = registry.build(spec, seed=0)
    Ticket(spec, state, Mask.full(net), {"data": {"name": "digits"}}, "0" * 16, 0, 1, 1).save(files.ticket)
    (at / "nets_of_mine.py").write_text(NETS)
    (at / "broken_nets.py").write_text("1 / 0\n")
    return vars(files)


@pytest.mark.parametrize(("words", "expected"), ROWS.values(), ids=ROWS)
def test_a_wrong_call_is_answered_and_leaves_no_trace(call, given, tmp_path, words, expected):
    at = given["tiny"].parent
    for module in at.glob("*.py"):
        shutil.copy(module, tmp_path / "here")
    before = {path: path.stat().st_mtime_ns for path in at.rglob("*")}
    arguments = words.format(**given).split()
    if arguments[0] in ("search", "train", "compare", "evaluate"):
        arguments += ["--runs", str(tmp_path / "runs")]
    said = call(*arguments)
    for word in expected.format(**given).split("; "):
        assert any(choice in said for choice in word.split("|")), said
    assert "<class '" not in said
    assert not list(tmp_path.glob("runs/**/*.safetensors"))
    assert {path: path.stat().st_mtime_ns for path in at.rglob("*")} == before
