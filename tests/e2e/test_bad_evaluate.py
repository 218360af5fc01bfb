"""Wrong calls of `evaluate`: status 2, one line that says what, what was expected and how to mend it."""

import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from robust_tickets.cli.main import main
from robust_tickets.data import load
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Compute, Data, Evaluate, Model
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.state import copy_state

NETS = """
import torch
from torch import nn

class Net(nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1))

class Blind(Net):
    def forward(self, x):
        return super().forward(x if self.training else x.detach())

class Nan(Net):
    def forward(self, x):
        logits = super().forward(x)
        return torch.where(x.flatten(1).sum(1, keepdim=True) > 20, logits / 0 * 0, logits)

class Deep(Net):
    def forward(self, x):
        logits = super().forward(x)
        return logits if len(x) < 5 else logits[:, :, None]

def fine():
    return Net(64, 10)

def blind():
    return Blind(64, 10)

def nan():
    return Nan(64, 10)

def deep():
    return Deep(64, 10)
"""

SLOW = "square(queries=20)"

# flags, a word in each line; then what the message must say. {x} is a file of the fixture `given`
ROWS = {
    "set with settings": (
        "{net} --attacks standard(steps=3)",
        "standard is a set of attacks and takes no settings; pgd-20",
    ),
    "torchattacks of no steps": ("{net} --attacks torchattacks:PGD(steps=0)", "steps to be above 0, got 0"),
    "torchattacks of fewer": ("{net} --attacks torchattacks:PGD(steps=-1)", "steps to be above 0, got -1"),
    "set mistyped": ("{net} --attacks standrad", "unknown attack 'standrad'; did you mean 'standard'"),
    "autoattack mistyped": ("{net} --attacks autoatack", "'autoatack'; did you mean 'autoattack'"),
    "attack in capitals": ("{net} --attacks PGD-20", "'PGD-20'; did you mean 'pgd-20'"),
    "attack with no name": ("{net} --attacks (steps=3)", "'(steps=3)'; write an attack like pgd-20"),
    "no class of torchattacks": (
        "{net} --attacks torchattacks:CWW",
        "torchattacks has no attack 'CWW'; did you mean 'CW'",
    ),
    "no argument of torchattacks": (
        "{net} --attacks torchattacks:CW(stepz=3)",
        "torchattacks.CW has no argument 'stepz'; did you mean 'steps'; its arguments: c, kappa",
    ),
    "torchattacks of another type": (
        "{net} --attacks torchattacks:CW(steps='many')",
        "expects steps to be int; like its default 50; 'many'",
    ),
    "unknown argument": ("{net} --attacks pgd(steps=3,step_sise=1)", "'step_sise'; did you mean 'step_size'"),
    "no arguments at all": ("{net} --attacks fgsm(steps=3)", "fgsm takes no arguments; steps"),
    "argument without a name": ("{net} --attacks square(20)", "without a name; pgd(steps=20)"),
    "argument twice": ("{net} --attacks pgd-20(steps=3)", "gives steps twice"),
    "code in arguments": (
        "{net} --attacks pgd(steps=__import__('os').system('touch${{IFS}}{ran}'))",
        "a value that is none of: a number",
    ),
    "bracket open": ("{net} --attacks pgd(steps=3", "is no name with arguments in brackets"),
    "steps nought": ("{net} --attacks pgd(steps=0)", "'pgd(steps=0)'; steps; at least 1"),
    "restarts nought": ("{net} --attacks pgd(steps=2,restarts=0)", "restarts; at least 1; 0"),
    "step negative": ("{net} --attacks pgd(steps=2,rel_step=-1)", "step; -1"),
    "unknown loss": ("{net} --attacks apgd(loss='crossentropy')", "loss; 'crossentropy'; dlr"),
    "queries nought": ("{net} --attacks square(queries=0)", "queries; at least 1; 0"),
    "wrong behind right": (
        "{net} --attacks fgsm pgd-3 sqare",
        "attack 'sqare'; did you mean 'square'",
    ),
    "eps nought": ("{net} --eps 0", "eps 0; 0 < eps <= 1; 8/255"),
    "several eps, one wrong": ("{net} --eps 2/255 4/255 8/0", "eps '8/0'; no number"),
    "several eps, one too large": ("{net} --eps 2/255 300/255", "eps 300/255; out of range"),
    "several eps with commas": ("{net} --eps 2/255,4/255", "eps '2/255,4/255'; no number; 8/255"),
    "eps without a value": ("{net} --eps", "eps; at least one"),
    "unknown norm": ("{net} --threat.norm L1", "--threat.norm; 'L1'; 'L2'"),
    "l2 with the radius of linf": ("{net} --threat.norm L2 --eps 8/255", "8/255; L2; 0.5"),
    "transfer from nowhere": ("{net} --from {away}", "no file {away}; checkpoint"),
    "transfer from a ticket": ("{net} --from {ticket}", "{ticket} is a ticket, expected a checkpoint"),
    "transfer from another shape": (
        "{net} --from {large}",
        "{large}; cifar10; digits does not fit; another --from",
    ),
    "transfer from weights without a name": (
        "{net} --from {weights}",
        "{weights}; --from-model.name; --data.name",
    ),
    "transfer from weights of another net": (
        "{net} --from {weights} --data.name digits --from-model.name resnet20",
        "{weights} does not fit resnet20; fc1.weight is not in the net; conv1.weight is missing",
    ),
    "transfer from a net of one's own": ("{net} --from {blind}", "--from-model.name nets_to_judge:blind"),
    "name of a source without one": ("{net} --from-model.name resnet20", "--from; leave it out"),
    "name of a source that says it": (
        "{net} --from {net} --from-model.name resnet20",
        "not of resnet20; --from-model.name",
    ),
    "three classes for nine targets": (
        "{three} --attacks apgd-t",
        "attack apgd-t needs 4 classes; has 3; without it, as --attacks quick",
    ),
    "two classes for dlr": (
        "{two} --attacks pgd(steps=2,loss='dlr')",
        "needs 3 classes; has 2; without it, as --attacks quick",
    ),
    "gradients of a net without": (
        "{blind} --model.name nets_to_judge:blind --attacks pgd-3",
        "no gradient to its images; square",
    ),
    "gradients of it for torchattacks": (
        "{blind} --model.name nets_to_judge:blind --attacks torchattacks:FGSM",
        "no gradient to its images; square",
    ),
    "NaN for some images": (
        "{nan} --model.name nets_to_judge:nan --attacks fgsm",
        "no numbers (NaN); images; weights are damaged, or it divides by zero",
    ),
    "logits of another shape": (
        "{deep} --model.name nets_to_judge:deep --attacks fgsm",
        "the net gave shape (20, 10, 1) for 20 images, expected logits (N, classes)",
    ),
    "weights that are NaN": ("{diverged}", "NaN|not finite; weights|training"),
    "images to a full folder": ("{net} --save-images {full}", "{full} is not empty; --save-images"),
}


def pictures(root, classes):
    """An image tree of small squares, in so many classes."""
    for part in ("train", "test"):
        for k in range(classes):
            for i in range(4):
                file = root / part / f"class-{k}" / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.random.default_rng(9 * k + i).integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(file)
    return root


def saved(file, spec, what, fingerprint, state=None):
    """A checkpoint of that net, and its state."""
    state = copy_state(registry.build(spec, seed=0)) if state is None else state
    Checkpoint(state, spec, recipes.to_table(what), fingerprint, "dense", 0, 1, 0.1, 0.1).save(file)
    return state


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Checkpoints and other files, by name; further flags behind the names of those that need them."""
    at = tmp_path_factory.mktemp("given")
    judged = {"evaluate": Evaluate(batch=20), "compute": Compute(threads=1)}
    what = Recipe(name="judged", model=Model("lenet-300-100", width=0.2), **judged)
    digits = load.load(Data("digits"))
    spec = ModelSpec("lenet-300-100", 0.2, (1, 8, 8), 10, digits.spec.mean, digits.spec.std)
    names = ("away", "net", "blind", "nan", "deep", "diverged", "large", "two", "three", "ticket", "ran")
    files = {name: at / name for name in names}
    state = saved(files["net"], spec, what, digits.fingerprint)
    files["weights"] = at / "weights.pt"
    torch.save({name: t for name, t in state.items() if not name.startswith("normalise.")}, files["weights"])
    net = registry.build(spec, seed=0)
    Ticket(spec, state, Mask.full(net), {"data": {"name": "digits"}}, "0" * 16, 0, 1, 1).save(files["ticket"])
    odd = {name: torch.full_like(tensor, torch.nan) for name, tensor in state.items()}
    saved(files["diverged"], spec, what, digits.fingerprint, odd)
    generator = torch.Generator().manual_seed(0)
    own = {"weight": torch.randn(10, 64, generator=generator), "bias": torch.zeros(10)}
    for name in ("blind", "nan", "deep"):
        theirs = ModelSpec(f"nets_to_judge:{name}", 1.0, (1, 8, 8), 10, (0.0,), (1.0,))
        saved(files[name], theirs, what, digits.fingerprint, own)
    colour = ModelSpec("lenet-300-100", 0.2, (3, 32, 32), 10, (0.0,) * 3, (1.0,) * 3)
    saved(files["large"], colour, Recipe(data=Data("cifar10"), **judged), "0" * 16)
    for name, classes in (("two", 2), ("three", 3)):
        where = Data("folder", root=pictures(at / f"{name}-classes", classes), val_images=1)
        tree = load.load(where)
        few = ModelSpec("lenet-300-100", 0.2, tree.spec.shape, classes, tree.spec.mean, tree.spec.std)
        saved(files[name], few, Recipe(data=Data("folder", val_images=1), **judged), tree.fingerprint)
        files[name] = f"{files[name]} --data.root {where.root}"
    files["full"] = pictures(at / "full", 1)
    (at / "nets_to_judge.py").write_text(NETS)
    return files


@pytest.fixture
def call(given, tmp_path, monkeypatch, capsys):
    """Run `evaluate`; gives its status and all that it said on standard error."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "here").mkdir()
    shutil.copy(given["net"].with_name("nets_to_judge.py"), tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")

    def run(*words):
        status = 0
        try:
            main(["evaluate", *map(str, words), "--runs", str(tmp_path / "runs")])
        except SystemExit as stopped:
            status = stopped.code
        err = capsys.readouterr().err
        assert "Traceback" not in err
        return status, err

    return run


@pytest.mark.parametrize(("words", "expected"), ROWS.values(), ids=ROWS)
def test_a_wrong_call_is_answered_in_one_line(call, given, words, expected):
    before = {path: path.read_bytes() for path in given["net"].parent.rglob("*") if path.is_file()}
    status, said = call(*words.format(**given).split())
    assert status == 2
    messages = [line for line in said.splitlines() if line.startswith("robust-tickets: ")]
    if "--threat.norm L1" not in words:  # tyro's own words stand in a box
        assert messages == said.splitlines()[-1:], "one line, the last"
    plain = " ".join(re.sub(r"[│╭╮╰╯─\s]+", " ", said).split())
    for word in expected.format(**given).split("; "):
        assert any(choice in plain for choice in word.split("|")), plain
    assert {path: path.read_bytes() for path in given["net"].parent.rglob("*") if path.is_file()} == before
    assert not given["ran"].exists()


@pytest.mark.parametrize(
    "words",
    [
        "--attacks fgsm sqare",
        "--eps 0.1 0",
        "--limit 999",
        "--from {away}",
        "--attacks torchattacks:CW(c=-1,steps=0) fgsm --save-images {full}",
    ],
)
def test_what_is_finished_stays_as_it_was(call, given, tmp_path, words):
    assert call(given["net"], "--limit", "10", "--attacks", "fgsm")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert call(given["net"], *words.format(**given).split())[0] == 2
    assert {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()} == before


def test_a_net_of_one_s_own_may_be_either_net_of_a_transfer(call, given):
    words = ["--attacks", "fgsm", "--limit", "10"]
    own = "nets_to_judge:fine"
    assert call(given["net"], "--from", given["nan"], "--from-model.name", own, *words)[0] == 0
    assert call(given["nan"], "--from", given["net"], "--model.name", own, *words)[0] == 0
    assert call(given["nan"], "--from", given["blind"], "--model.name", own, *words)[0] == 0


def test_rows_that_were_finished_before_the_net_failed_are_kept(call, given, tmp_path):
    words = [given["blind"], "--model.name", "nets_to_judge:blind", "--limit", "40", "--attacks"]
    assert call(*words, SLOW, "pgd-3")[0] == 2
    (file,) = (tmp_path / "runs").rglob("robustness.csv")
    assert [line.split(",")[2] for line in file.read_text().splitlines()] == ["attack", "clean", SLOW]


def test_a_net_without_gradients_is_judged_by_a_black_box(call, given, tmp_path, capsys):
    words = [given["blind"], "--model.name", "nets_to_judge:blind", "--limit", "40"]
    main(["evaluate", *map(str, words), "--attacks", SLOW, "--runs", str(tmp_path / "runs")])
    said = capsys.readouterr().out
    assert "WARN  every sample has a gradient: the net gives none" in said
    assert "believe square, not pgd" in said
    assert f"\n{SLOW}" in said


@pytest.mark.parametrize("harm", ["empty", "cut", "changed", "text", "of other samples"])
@pytest.mark.parametrize("kind", ["verdicts-*.npz", "sanity-*.json", "robustness.csv"])
def test_a_damaged_file_of_ours_is_named(call, given, tmp_path, kind, harm):
    words = [given["net"], "--limit", "10", "--attacks", "fgsm"]
    assert call(*words)[0] == 0
    (file,) = (tmp_path / "runs").rglob(kind)
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(
        {
            "empty": b"",
            "cut": whole[: middle + 7],
            "changed": whole[:60] + bytes(255 - byte for byte in whole[60:middle]) + whole[middle:],
            "text": b"words, and no more\n",
            "of other samples": b"[]" if kind.startswith("sanity") else b"a,b\n1,2\n",
        }[harm]
    )
    status, said = call(*words)
    assert status == 2
    assert f"cannot read {file} (" in said
    assert said.splitlines()[-1].endswith(": remove it and evaluate again")
    file.unlink()
    assert call(*words)[0] == 0
