"""Wrong calls: the message names field, flag, file or attack and its value, and what exists stays as it is.

One case a kind of mistake: fields of other types and out of range are in tests/recipe/.
"""

import pytest
import torch
from torch import nn

from robust_tickets.attacks import APGD, InputError, ThreatModel

OWN = "search --recipe demo --model.name"
PUBLISHED = "evaluate {published} --data.name digits"

# name: (words, parts of the message)
CALLS = {
    "unknown command": ("serach --recipe demo", "'serach'; 'search'"),
    "no recipe": ("train --seed 1", "--recipe; demo"),
    "recipe without its flag": ("compare demo --seeds 2", "write --recipe demo"),
    "folder for a recipe": ("compare --recipe {run}", "recipe {run} is a folder; TOML"),
    "unknown recipe": ("compare --recipe dmeo", "'dmeo'; 'demo'"),
    "no file of the recipe": ("search --recipe {away}/mine.toml", "{away}/mine.toml"),
    "no TOML": ("search --recipe {no_toml}", "{no_toml}; TOML; line 1"),
    "unknown field": ("search --recipe {bad_field}", "{bad_field}; 'search.lrr'; 'lr'"),
    "unknown flag": ("search --recipe demo --search.lrr 1", "--search.lrr; --search.lr"),
    "unknown network": ("search --recipe demo --model.name resnet", "model.name; 'resnet'; resnet20"),
    "eps of Linf in L2": ("search --recipe cifar10-cpu --threat.norm L2", "threat.eps; 8/255; L2; 0.5"),
    "name of a folder": ("search --recipe demo --name ../up", "'../up'"),
    "seed": ("search --recipe demo --seed -1", "seed; at least 0; -1"),
    "jobs": ("compare --recipe demo --jobs 0", "jobs; at least 1; 0"),
    "device": ("search --recipe demo --device nonsense", "'nonsense'; --device cpu"),
    "device without data": ("search --recipe demo --device meta", "'meta'; --device cpu"),
    "threads": ("search --recipe demo --compute.threads 99999999999", "threads"),
    "field of another schedule": (
        "train --recipe demo --train.schedule cosine --train.milestones 0.3",
        "train.milestones; cosine",
    ),
    "late rewind": ("search --recipe {tiny} --search.rewind-iterations 99", "search.rewind_iterations; 99"),
    "empty layer": (
        "search --recipe {tiny} --search.scope layer --search.output-ratio 0.9999",
        "fc3.weight; search.output_ratio",
    ),
    "images too small": ("compare --recipe demo --model.name vgg16 --dry-run", "vgg16; 32 x 32; 8 x 8"),
    "batch too large": (
        "compare --recipe {tiny} --train.batch 41 --dry-run",
        "train.batch 41; 40 training; smaller train.batch",
    ),
    "too many test images": ("compare --recipe {tiny} --evaluate.images 361", "361; 360"),
    "width of a user's network": (f"{OWN} own_nets:fine --model.width 2", "model.width; own_nets:fine"),
    "no module": (f"{OWN} away_nets:net", "away_nets"),
    "no function of the module": (f"{OWN} own_nets:fien", "own_nets:fien; fien"),
    "unknown study": ("study ratios --recipe demo", "'ratios'; 'ratio'; schedule"),
    "study without a recipe": ("study lr", "--recipe"),
    "setting of another study": (
        "study lr --recipe demo --study.ratio 0.5",
        "study.ratio is for the study ratio; lr; leave it out",
    ),
    "setting twice": ("study lr --recipe demo --study.lr 0.1 0.1", "study.lr; twice"),
    "two ways to rewind": (
        "search --recipe demo --search.rewind-iterations 1 --search.rewind-epochs 1",
        "search.rewind_iterations; search.rewind_epochs",
    ),
    "no images named": (
        "search --recipe cifar10-cpu",
        "CIFAR-10; --data.root; ROBUST_TICKETS_CIFAR10; --data.download",
    ),
    "no images there": ("search --recipe cifar10-cpu --data.root {away}/c.tar", "{away}/c.tar; --data.root"),
    "no images there for an estimate": (
        "compare --recipe cifar10-cpu --data.root {away}/c.tar --dry-run",
        "{away}/c.tar; --data.root",
    ),
    "no images there for a study's estimate": (
        "study lr --recipe lab-cpu --data.root {away}/c.tar --dry-run",
        "{away}/c.tar; --data.root",
    ),
    "runs in a file": ("search --recipe {tiny} --runs {text}", "cannot write; {text}; --runs"),
    "no ticket": ("train --recipe {tiny} --ticket {away}/t", "{away}/t"),
    "damaged ticket": ("train --recipe {tiny} --ticket {text}", "{text}; damaged"),
    "checkpoint for a ticket": (
        "train --recipe {tiny} --ticket {checkpoint}",
        "{checkpoint} is a checkpoint; a ticket",
    ),
    "ticket of a user's network": ("ticket verify {own_ticket}", "--model.name own_nets:fine"),
    "export to nowhere": ("ticket export {ticket} --out {text}/x", "cannot write; can be written"),
    "unknown format": ("export {checkpoint} --format tflite", "format; 'tflite'; onnx"),
    "no run directory": ("table {folder}", "{folder}; recipe.toml"),
    "run without a seed": ("table {run}", "{run}; seed; compare"),
    "study without a table": ("table {study}", "{study}; study"),
    "unknown tool": ("runs lst", "'runs lst'; 'runs list'"),
    "removal of another folder": ("runs rm {folder} --yes", "{folder}; run directory"),
    "no file to evaluate": ("evaluate --limit 10", "evaluate needs CHECKPOINT; best.safetensors"),
    "no checkpoint": ("evaluate {away}/best.safetensors", "{away}/best.safetensors; checkpoint"),
    "changed checkpoint": ("evaluate {changed}", "{changed}; damaged"),
    "ticket for a checkpoint": ("evaluate {ticket}", "{ticket} is a ticket; a checkpoint"),
    "weights that are NaN": ("evaluate {diverged}", "NaN; weights"),
    "checkpoint of a user's network": ("evaluate {own}", "own_nets:fine; --model.name own_nets:fine"),
    "other images": ("evaluate {checkpoint} --data.name cifar10", "digits; cifar10; --data.name"),
    "weights without a network": ("evaluate {published}", "{published}; --model.name; --data.name"),
    "weights of another network": (f"{PUBLISHED} --model.name resnet20", "fc1.weight; conv1.weight"),
    "unknown attack": ("evaluate {checkpoint} --attacks fgsm standrad", "'standrad'; 'standard'"),
    "code in an argument": (
        "evaluate {checkpoint} --attacks pgd(steps=__import__('os').mkdir('{away}'))",
        "a number",
    ),
    "one of several eps": ("evaluate {checkpoint} --eps 2/255 300/255", "eps 300/255"),
    "limit": ("evaluate {checkpoint} --limit 361", "limit; 361; 360"),
    "pictures in a full folder": ("evaluate {checkpoint} --save-images {full}", "{full}; --save-images"),
    "source is a ticket": ("evaluate {checkpoint} --from {ticket}", "{ticket} is a ticket; a checkpoint"),
    "source of other images": ("evaluate {checkpoint} --from {cifar}", "{cifar}; cifar10; digits; --from"),
    "source of a user's network": ("evaluate {checkpoint} --from {own}", "--from-model.name own_nets:fine"),
    "name of no source": ("evaluate {checkpoint} --from-model.name resnet20", "--from"),
}


@pytest.mark.parametrize(("words", "expected"), CALLS.values(), ids=CALLS)
def test_a_wrong_call_is_refused(words, expected, refused, files):
    refused(words, expected)
    assert not files.away.exists()


def test_a_network_that_cannot_be_attacked_is_named(call):
    status, err = call("evaluate {blind} --model.name own_nets:blind --limit 40 --attacks pgd-3")
    assert status == 2
    assert "no gradient" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_refused_call_leaves_an_earlier_evaluation_as_it_is(call, tmp_path):
    assert call("evaluate {checkpoint} --limit 10 --attacks fgsm")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "here").rglob("*") if path.is_file()}
    for words in ("--attacks fgsm sqare", "--limit 999", "--save-images {full}"):
        assert call(f"evaluate {{checkpoint}} {words}")[0] == 2
    assert {path: path.read_bytes() for path in (tmp_path / "here").rglob("*") if path.is_file()} == before


def test_either_network_of_a_transfer_may_be_the_users_own(call):
    words = "--attacks fgsm --limit 10"
    assert call(f"evaluate {{checkpoint}} --from {{own}} --from-model.name own_nets:fine {words}")[0] == 0
    assert call(f"evaluate {{own}} --from {{checkpoint}} --model.name own_nets:fine {words}")[0] == 0
    assert call(f"evaluate {{own}} --from {{blind}} --model.name own_nets:fine {words}")[0] == 0


@pytest.mark.parametrize("kind", ["verdicts-*.npz", "sanity-*.json", "robustness.csv"])
@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2 + 7], lambda content: b"[]"])
def test_a_damaged_file_of_an_evaluation_is_named(damage, kind, call, tmp_path):
    words = "evaluate {checkpoint} --limit 10 --attacks fgsm"
    assert call(words)[0] == 0
    (file,) = (tmp_path / "here").rglob(kind)
    file.write_bytes(damage(file.read_bytes()))
    status, err = call(words)
    assert status == 2
    last = err.splitlines()[-1]
    assert str(file.relative_to(tmp_path / "here")) in last
    assert "remove it" in last
    file.unlink()
    assert call(words)[0] == 0


def test_a_loss_of_three_classes_is_refused_for_two():
    net, images = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.rand(1, 3, 2, 2)
    with pytest.raises(InputError, match="has 2 classes, this attack needs 3"):
        APGD(ThreatModel("Linf", 0.1), steps=2, loss="dlr")(net, images, torch.tensor([0]))


def test_a_message_is_one_line(call):
    status, err = call("search --recipe demo --search.lr -1")
    assert (status, err) == (2, "robust-tickets: search.lr must be above 0, got -1.0\n")


@pytest.mark.parametrize("command", ["search", "train", "compare", "compare --dry-run", "study lr"])
def test_every_command_refuses_before_it_writes(command, refused):
    refused(f"{command} --recipe demo --device nonsense", "'nonsense'; --device cpu")
