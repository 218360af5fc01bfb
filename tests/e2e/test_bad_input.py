"""Wrong calls: status 2, one message that names what is wrong and how to mend it, and nothing is written."""

import tarfile
from dataclasses import replace
from types import SimpleNamespace

import pytest

from robust_tickets.data.dataset import SPECS
from robust_tickets.models import registry
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Data, Evaluate, Model, Search, Train
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages.experiment import model_spec
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.state import copy_state

TINY = Recipe(
    name="tiny",
    data=Data("digits", train_images=40, val_images=10),
    model=Model("lenet-300-100", width=0.05),
    search=Search(method="natural", epochs=1, batch=20),
    train=Train(method="natural", epochs=1, ticket_epochs=1, batch=20),
    evaluate=Evaluate(images=20, val_steps=1),
)

# verb and flags; then what the message must say. {x} is a file of the fixture `given`
ROWS = {
    "unknown verb": ("serach --recipe demo", "unknown command 'serach'; did you mean 'search'"),
    "empty verb": ("'' --recipe demo", "unknown command ''; compare"),
    "no recipe": ("search", "search needs --recipe; demo; TOML"),
    "no recipe, but flags": ("train --seed 1 --search.lr 1", "train needs --recipe; demo"),
    "recipe without a word": ("compare --recipe", "compare needs --recipe"),
    "unknown recipe": ("compare --recipe dmeo", "unknown recipe 'dmeo'; did you mean 'demo'"),
    "recipe file missing": ("search --recipe {away}/mine.toml", "cannot read; {away}/mine.toml"),
    "recipe no TOML": ("search --recipe {no_toml}", "{no_toml}; no valid TOML; line 1"),
    "unknown field in a file": (
        "search --recipe {bad_field}",
        "{bad_field}; 'search.lrr'; did you mean 'lr'",
    ),
    "unknown field": ("search --recipe demo --search.lrr 1", "--search.lrr; Perhaps you meant; --search.lr"),
    "unknown flag": ("evaluate {checkpoint} --attack fgsm", "--attack; --attacks"),
    "unknown value": ("search --recipe demo --search.method pdg", "--search.method; 'pdg'; 'pgd'"),
    "unknown model": ("search --recipe demo --model.name resnet", "model.name; 'resnet'; resnet20"),
    "unknown arm": ("compare --recipe demo --compare.arms dens", "--compare.arms; 'dens'; 'dense'"),
    "arm twice": ("compare --recipe demo --compare.arms dense ticket ticket", "compare.arms; twice"),
    "no dense": ("compare --recipe demo --compare.arms ticket", "compare.arms; dense"),
    "no arms": ("compare --recipe demo --compare.arms", "compare.arms; at least one"),
    "name of a folder": ("search --recipe demo --name ../up", "'../up'; letters"),
    "eps nought": ("search --recipe demo --threat.eps 0", "--threat.eps; eps 0; 0 < eps <= 1; 8/255"),
    "eps negative": ("search --recipe demo --threat.eps=-8/255", "--threat.eps; eps -8/255; out of range"),
    "eps as bytes": ("search --recipe demo --threat.eps 8", "eps 8; out of range; 8/255"),
    "eps in words": ("search --recipe demo --threat.eps small", "eps 'small'; no number; 8/255"),
    "eps over nought": ("search --recipe demo --threat.eps 1/0", "eps '1/0'; no number"),
    "eps not a number": ("search --recipe demo --threat.eps nan", "eps 'nan'; no number"),
    "lr nought": ("search --recipe demo --search.lr 0", "search.lr; above 0; 0.0"),
    "lr negative": ("train --recipe demo --train.lr -0.1", "train.lr; above 0; -0.1"),
    "lr infinite": ("search --recipe demo --search.lr inf", "search.lr; above 0; inf"),
    "lr in words": ("search --recipe demo --search.lr high", "--search.lr; high"),
    "ratio nought": ("search --recipe demo --search.ratio 0", "search.ratio; above 0 and below 1; 0.0"),
    "ratio one": ("search --recipe demo --search.ratio 1", "search.ratio; below 1; 1.0"),
    "ratio in percent": ("search --recipe demo --search.ratio 80", "search.ratio; below 1; 80"),
    "momentum one": ("search --recipe demo --search.momentum 1", "search.momentum; below 1"),
    "momentum negative": ("search --recipe demo --search.momentum -0.1", "search.momentum; at least 0"),
    "batch nought": ("search --recipe demo --search.batch 0", "search.batch; at least 1, got 0"),
    "epochs nought": ("train --recipe demo --train.epochs 0", "train.epochs; at least 1, got 0"),
    "epochs broken": ("search --recipe demo --search.epochs 1.5", "--search.epochs; 1.5"),
    "epochs without end": (f"search --recipe demo --search.epochs {'9' * 400}", "search.epochs"),
    "warm-up falls": (
        "search --recipe cifar10-cpu --train.warmup-lr 1",
        "train.warmup_lr; train.lr; smaller",
    ),
    "seed negative": ("search --recipe demo --seed -1", "seed must be at least 0; -1"),
    "no seeds": ("compare --recipe demo --seeds 0", "seeds must be at least 1, got 0"),
    "seed beyond all": ("search --recipe demo --seed 4294967296", "seed must be at most 2147483647"),
    "kept less than never": (
        "train --recipe demo --checkpoint-minutes=-1",
        "checkpoint_minutes must be at least 0, got -1",
    ),
    "kept every half step": ("train --recipe demo --checkpoint-steps 0.5", "--checkpoint-steps; 0.5"),
    "back from pgd": (
        "train --recipe demo --train.overfitting restore-best",
        "train.overfitting; train.method pgd; leave it out",
    ),
    "overfitting in other words": (
        "search --recipe demo --search.overfitting stop",
        "'stop'; 'restore-best'",
    ),
    "recipe of another alphabet": ("search --recipe rezept-für-häuser.toml", "rezept-für-häuser.toml"),
    "threads nought": ("search --recipe demo --compute.threads 0", "compute.threads; at least 1"),
    "too many threads": ("search --recipe demo --compute.threads 99999999999", "threads"),
    "device unknown": ("search --recipe demo --device nonsense", "device 'nonsense'; --device cpu"),
    "device absent": ("search --recipe demo --device cuda:99", "device 'cuda:99'; --device cpu"),
    "device of a cpu": ("search --recipe demo --device cpu:0", "device 'cpu:0'; --device cpu"),
    "device of jobs": ("compare --recipe demo --jobs 2 --device gpu", "device 'gpu'; --device cpu"),
    "device of a comparison": ("compare --recipe demo --device gpu", "device 'gpu'; --device cpu"),
    "device without data": ("search --recipe demo --device meta", "device 'meta'; --device cpu"),
    "net too deep": ("search --recipe demo --model.name vgg16", "vgg16; 32 x 32; 8 x 8; --model.name"),
    "net too deep, compared": ("compare --recipe demo --model.name vgg16", "vgg16; 8 x 8; --model.name"),
    "net too deep, estimated": ("compare --recipe demo --model.name vgg16 --dry-run", "vgg16; 32 x 32"),
    "batch too large": (
        "search --recipe {tiny} --search.batch 41",
        "batch of 41; 40 training images; smaller",
    ),
    "batch too large, train": ("train --recipe {tiny} --train.batch 41", "batch of 41; 40 training images"),
    "batch too large, compared": (
        "compare --recipe {tiny} --search.batch 41",
        "batch of 41; 40 training images",
    ),
    "batch too large, estimated": ("compare --recipe {tiny} --train.batch 41 --dry-run", "batch of 41; 40"),
    "too much trained on": (
        "search --recipe demo --data.train-images 2000",
        "data.train_images 2000; 1437; fewer",
    ),
    "too much held out": ("search --recipe demo --data.val-images 1437", "data.val_images 1437; 1437"),
    "too much judged": ("compare --recipe {tiny} --evaluate.images 361", "361; 360; fewer"),
    "too much judged, estimated": (
        "compare --recipe {tiny} --evaluate.images 361 --dry-run",
        "361; 360; fewer",
    ),
    "digits have no place": (
        "search --recipe demo --data.root {away}",
        "come with scikit-learn; --data.root",
    ),
    "no data": (
        "search --recipe cifar10-cpu",
        "CIFAR-10; --data.root; ROBUST_TICKETS_CIFAR10; --data.download",
    ),
    "no data to judge on": ("evaluate {cifar_checkpoint}", "CIFAR-10; --data.root; ROBUST_TICKETS_CIFAR10"),
    "data missing": ("search --recipe cifar10-cpu --data.root {away}/c.tar", "{away}/c.tar; --data.root"),
    "data folder empty": (
        "search --recipe cifar10-cpu --data.root {folder}",
        "{folder}; no CIFAR-10; --data.root",
    ),
    "archive damaged": (
        "search --recipe cifar10-cpu --data.root {archive}",
        "{archive}; unexpected end; fetch it again",
    ),
    "archive is text": (
        "search --recipe cifar10-cpu --data.root {text}",
        "{text}; no readable tar archive; --data.root",
    ),
    "runs is a file": ("search --recipe {tiny} --runs {text}", "cannot write; {text}; --runs"),
    "ticket missing": ("train --recipe {tiny} --ticket {away}/t", "no file {away}/t; ticket"),
    "ticket damaged": (
        "train --recipe {tiny} --ticket {cut_ticket}",
        "{cut_ticket}; damaged; create it again",
    ),
    "ticket is a net": ("train --recipe {tiny} --ticket {checkpoint}", "is a checkpoint, expected a ticket"),
    "ticket does not fit": (
        "train --recipe {tiny} --ticket {wide_ticket}",
        "fit; fc1.weight; (30, 64); (15, 64)",
    ),
    "ticket of another net": ("train --recipe {tiny} --ticket {other_ticket}", "does not fit; fc1.weight"),
    "ticket of other data": (
        "train --recipe cifar10-cpu --ticket {ticket}",
        "ticket does not fit; in the net; recipe",
    ),
    "checkpoint not named": ("evaluate", "CHECKPOINT|PATH"),
    "checkpoint missing": ("evaluate {away}/best.safetensors", "no file {away}/best.safetensors; checkpoint"),
    "checkpoint a folder": ("evaluate {folder}", "{folder}; checkpoint"),
    "checkpoint cut short": ("evaluate {cut_checkpoint}", "{cut_checkpoint}; damaged; create it again"),
    "checkpoint changed": ("evaluate {changed}", "{changed}; damaged; create it again"),
    "checkpoint is text": ("evaluate {text}", "{text}; damaged or no checkpoint"),
    "checkpoint is a ticket": ("evaluate {ticket}", "is a ticket, expected a checkpoint"),
    "attack mistyped": ("evaluate {checkpoint} --attacks fgms", "unknown attack 'fgms'; did you mean 'fgsm'"),
    "attack without steps": ("evaluate {checkpoint} --attacks clean pgd", "'pgd'; pgd-20"),
    "attack of no steps": ("evaluate {checkpoint} --attacks pgd-0", "'pgd-0'; pgd-20"),
    "attack of odd steps": ("evaluate {checkpoint} --attacks pgd-²", "'pgd-²'; pgd-20"),
    "attack of few steps": ("evaluate {checkpoint} --attacks pgd--5", "'pgd--5'; pgd-20"),
    "no attacks": ("evaluate {checkpoint} --attacks", "attacks; at least one"),
    "unknown split": ("evaluate {checkpoint} --split valid", "--split; 'valid'; 'val'"),
    "limit too large": ("evaluate {checkpoint} --limit 361", "361; 360; fewer"),
    "limit negative": ("evaluate {checkpoint} --limit -1", "limit must be at least 0, got -1"),
    "other data to judge on": ("evaluate {checkpoint} --data.name cifar10", "digits; cifar10; --data.name"),
    "digits need no place": (
        "evaluate {checkpoint} --data.root {folder}",
        "come with scikit-learn; --data.root",
    ),
    "judge on no device": ("evaluate {checkpoint} --device nonsense", "device 'nonsense'; --device cpu"),
    "table of nothing": ("table {away}", "{away}; no run directory; recipe.toml"),
    "table of a file": ("table {text}", "{text}; no run directory"),
    "table of a folder": ("table {folder}", "{folder}; no run directory; recipe.toml"),
    "table too early": ("table {begun}", "{begun}; no seed; dense; compare"),
    "table as html": ("table {begun} --format html", "--format; 'html'; 'csv'"),
    "recipes of something": ("recipes demo", "demo"),
}


def save_ticket(what, path):
    spec = model_spec(what, SPECS[what.data.name])
    net = registry.build(spec, seed=0)
    search = {"data": {"name": what.data.name}}
    Ticket(spec, copy_state(net), Mask.full(net), search, "0" * 16, 0, 1, 1).save(path)


def save_checkpoint(what, path):
    spec = model_spec(what, SPECS[what.data.name])
    state = copy_state(registry.build(spec, seed=0))
    Checkpoint(state, spec, recipes.to_table(what), "0" * 16, "dense", 0, 1, 0.1, 0.1).save(path)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Files to be wrong with, by name."""
    at = tmp_path_factory.mktemp("given")
    names = "away folder text tiny.toml no_toml.toml bad_field.toml archive.tar.xz ticket"
    names += " wide_ticket other_ticket cut_ticket checkpoint cut_checkpoint changed cifar_checkpoint begun"
    files = SimpleNamespace(**{name.split(".")[0]: at / name for name in names.split()})
    files.folder.mkdir()
    files.text.write_text("neither tensors nor images\n" * 100)
    files.tiny.write_text(recipes.to_toml(TINY))
    files.no_toml.write_text("[search\n")
    files.bad_field.write_text("[search]\nlrr = 0.1\n")
    with tarfile.open(files.archive, "w:xz") as archive:
        for i in range(20):
            archive.add(files.text, f"train/cat/{i}.txt")
    files.archive.write_bytes(files.archive.read_bytes()[:200])
    save_ticket(TINY, files.ticket)
    save_ticket(replace(TINY, model=Model("lenet-300-100", width=0.1)), files.wide_ticket)
    save_ticket(replace(TINY, model=Model("resnet20", width=0.5)), files.other_ticket)
    files.cut_ticket.write_bytes(files.ticket.read_bytes()[:-10])
    save_checkpoint(TINY, files.checkpoint)
    whole = files.checkpoint.read_bytes()
    files.cut_checkpoint.write_bytes(whole[: len(whole) // 2])
    files.changed.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    save_checkpoint(replace(TINY, data=Data("cifar10")), files.cifar_checkpoint)
    RunDirectory(files.begun, TINY).begin("cpu", {})
    return vars(files)


@pytest.mark.parametrize(("words", "expected"), ROWS.values(), ids=ROWS)
def test_a_wrong_call_is_answered_and_leaves_no_trace(call, given, tmp_path, words, expected):
    before = {path: path.stat().st_mtime_ns for path in given["tiny"].parent.rglob("*")}
    arguments = ["" if word == "''" else word.format(**given) for word in words.split()]
    takes_runs = words.split()[0] in ("search", "train", "compare", "evaluate") and "--runs" not in words
    if takes_runs and words not in ("search", "compare --recipe"):
        arguments += ["--runs", str(tmp_path / "runs")]
    said = call(*arguments)
    for word in expected.format(**given).split("; "):
        assert any(choice in said for choice in word.split("|")), said
    assert "<class '" not in said
    assert not list(tmp_path.glob("runs/**/*"))
    assert not list(tmp_path.glob("here/**/*"))
    assert {path: path.stat().st_mtime_ns for path in given["tiny"].parent.rglob("*")} == before


def test_the_message_is_one_line_of_ours(call):
    said = call("search", "--recipe", "demo", "--search.lr", "-1")
    assert said == "robust-tickets: search.lr must be above 0, got -1.0"
