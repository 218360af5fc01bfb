"""Wrong calls about finders, controls, studies and tickets."""

import shutil
from dataclasses import replace

import pytest
import torch

from robust_tickets.data.dataset import SPECS
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.state import copy_state

DEMO = "--recipe demo --search.rounds 1"

# verb and flags; then what the message must say. {x} is a file of the fixture `given`
ROWS = {
    "unknown pruning method": (
        f"search {DEMO} --search.pruning-method grasp",
        "--search.pruning-method; grasp; imp; snip; random",
    ),
    "rounds of snip": (
        "search --recipe demo --search.pruning-method snip",
        "search.rounds does nothing; snip; imp",
    ),
    "early stop of random": (
        f"search {DEMO} --search.pruning-method random --search.stop-distance 0.1",
        "search.stop_distance does nothing; random; leave it out",
    ),
    "rewinding snip": (
        f"search {DEMO} --search.pruning-method snip --search.rewind-epochs 1",
        "search.rewind_epochs does nothing; snip",
    ),
    "fine-tuning of snip": (
        f"search {DEMO} --search.pruning-method snip --search.after fine-tune",
        "search.after does nothing; snip",
    ),
    "densities of imp": (
        f"search {DEMO} --search.densities er",
        "search.densities; search.pruning_method random",
    ),
    "scope of random": (
        f"search {DEMO} --search.pruning-method random --search.scope layer",
        "search.scope does nothing; search.densities",
    ),
    "fine-tuning and rewinding": (
        f"search {DEMO} --search.after fine-tune --search.rewind-epochs 1",
        "fine-tune does not rewind; search.rewind_iterations or _epochs",
    ),
    "distance of one": (f"search {DEMO} --search.stop-distance 1", "search.stop_distance must be at least 0"),
    "search on more than all": (
        f"search {DEMO} --data.train-images 256 --search.images 300",
        "search.images is 300; 256 images; 0 for all",
    ),
    "batch beyond the search's images": (
        f"search {DEMO} --search.images 32",
        "a batch of 64; 32 training images",
    ),
    "random ratio that empties a layer": (
        f"search {DEMO} --search.pruning-method random --search.ratio 0.9999 --search.densities uniform",
        "densities uniform leave nothing of conv1.weight; search.ratio; search.ignored_layers conv1.weight",
    ),
    "reinit of random": (
        f"compare {DEMO} --search.pruning-method random --compare.arms dense ticket ticket-reinit",
        "compare.arms ticket-reinit makes no sense with search.pruning_method random; leave it out",
    ),
    "random of random": (
        f"compare {DEMO} --search.pruning-method random --compare.arms dense ticket random",
        "compare.arms random makes no sense",
    ),
    "net-wide shuffle of uniform": (
        f"compare {DEMO} --search.pruning-method random --search.densities uniform "
        f"--compare.arms dense ticket "
        "ticket-shuffle-net",
        "compare.arms ticket-shuffle-net makes no sense",
    ),
    "narrow own net": (
        f"compare {DEMO} --model.name my:net --compare.arms dense dense-narrow-flops",
        "dense-narrow-flops needs a net with a width; my:net; leave it out",
    ),
    "a grid without a study": (
        f"search {DEMO} --study.lr 0.1 0.2",
        "--study.* does nothing to search; robust-tickets study",
    ),
    "study of nothing": ("study --recipe demo", "study needs to know which; lr; transfer"),
    "unknown study": ("study ratios --recipe demo", "unknown study 'ratios'; ratio; schedule"),
    "study without a recipe": ("study lr", "study needs --recipe"),
    "study of no seeds": ("study lr --recipe demo --seeds 0", "seeds must be at least 1"),
    "the same rate twice": ("study lr --recipe demo --study.lr 0.1 0.1", "study.lr names a setting twice"),
    "a rate of nothing": ("study lr --recipe demo --study.lr 0 0.1", "study.lr must be above 0"),
    "a ratio of all": (
        "study ratio --recipe demo --study.ratio 1",
        "study.ratio must be above 0 and below 1",
    ),
    "controls without the ticket": (
        "study controls --recipe demo --study.controls dense random",
        "study.controls lacks ticket",
    ),
    "transfer of nothing": (
        "study transfer --recipe demo --study.transfer natural",
        "study.transfer 'natural'; threat.eps=4/255",
    ),
    "transfer of training": (
        "study transfer --recipe demo --study.transfer train.lr=1",
        "study.transfer 'train.lr=1' is no change of data, threat or search",
    ),
    "transfer to the same": (
        "study transfer --recipe demo --study.transfer threat.eps=0.1",
        "changes nothing; already",
    ),
    "schedule of iterations": ("study schedule --recipe frankle-lenet", "study schedule: it is in epochs"),
    "boosting for a paper": (
        "table {run} --about boosting --format latex",
        "--about boosting; csv or markdown",
    ),
    "study for a paper": ("table {study} --format latex", "a study comes as csv or markdown"),
    "study without its table": ("table {study}", "{study} has no table of a study"),
    "ticket to do nothing with": ("ticket", "ticket needs to know what to do: show, diff, export, verify"),
    "unknown tool": ("ticket list {ticket}", "ticket list; show"),
    "no ticket there": ("ticket show {away}", "there is no file {away}; ticket"),
    "a folder": ("ticket show {here}", "{here} is a folder"),
    "half a ticket": ("ticket verify {cut}", "{cut} is damaged"),
    "altered bits": ("ticket verify {altered}", "{altered} is damaged"),
    "tickets of two nets": ("ticket diff {ticket} {other}", "different nets; fc1.weight is (30, 64) in one"),
    "a ticket that leads nowhere": (
        "ticket verify {blocked}",
        "no path; fc2.weight; density; search.ratio; search.ignored_layers",
    ),
    "another one's net": (
        "ticket verify {own}",
        "no code is run because a file names it; --model.name my:net",
    ),
    "exported nowhere": ("ticket export {ticket} --out {file}/x", "cannot write; --out"),
}


def ticket_of(name, width, kept=None):
    digits = SPECS["digits"]
    spec = ModelSpec(name, width, digits.shape, 10, digits.mean, digits.std)
    net = registry.build(spec, seed=0)
    search = {c: recipes.to_table(Recipe())[c] for c in ("data", "model", "threat", "search", "compute")}
    return Ticket(spec, copy_state(net), kept or Mask.full(net), search, "0" * 16, 0, 1, 1)


@pytest.fixture
def given(tmp_path):
    """Files to go wrong with, by name."""
    files = {name: tmp_path / f"{name}.safetensors" for name in ("ticket", "other", "cut", "altered")}
    files |= {name: tmp_path / f"{name}.safetensors" for name in ("blocked", "own")}
    files |= {"away": tmp_path / "away", "here": tmp_path, "file": tmp_path / "file"}
    whole = ticket_of("lenet-300-100", 0.1)
    whole.save(files["ticket"])
    ticket_of("conv-2", 0.1).save(files["other"])
    files["cut"].write_bytes(files["ticket"].read_bytes()[:-50])
    raw = bytearray(files["ticket"].read_bytes())
    raw[-1] ^= 1
    files["altered"].write_bytes(raw)
    names = list(whole.mask)
    first, second = whole.mask[names[0]].clone(), whole.mask[names[1]].clone()
    first[5:] = False
    second[:, :5] = False
    ticket_of(
        "lenet-300-100", 0.1, whole.mask.with_entries(names[:2], torch.cat([first.view(-1), second.view(-1)]))
    ).save(files["blocked"])
    replace(whole, model=replace(whole.model, name="my:net")).save(files["own"])
    files["file"].write_text("no folder")
    files["run"] = tmp_path / "run"
    files["run"].mkdir()
    files["study"] = tmp_path / "study"
    files["study"].mkdir()
    shutil.copy(recipes._folder() / "demo.toml", files["study"] / "study.toml")
    shutil.copy(recipes._folder() / "demo.toml", files["run"] / "recipe.toml")
    return files


@pytest.mark.parametrize(("words", "says"), ROWS.values(), ids=list(ROWS))
def test_one_message_says_what_to_do(words, says, call, given):
    said = call(*(word.format(**given) for word in words.split()))
    for part in says.format(**given).split("; "):
        assert part in said
