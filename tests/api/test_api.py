"""The Python interface gives the numbers of the stages and leaves the user's network alone."""

import inspect
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from own_case import ARMS, RECIPE, build_net, equal, labelled_images, state_of
from torch import nn
from torch.nn.utils import parametrizations

import robust_tickets
from robust_tickets.base.errors import InputError
from robust_tickets.recipe import recipe as recipes
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import evaluate
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.evaluation_request import EvaluationRequest
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint

# the images of most tests are few
pytestmark = pytest.mark.filterwarnings("ignore:.*there are few images")


def test_a_ticket_is_that_of_the_stage(run, ticket, tmp_path):
    file = run / "seed-0" / "search" / "ticket.safetensors"
    ticket.save(str(tmp_path / "t.safetensors"))
    assert (tmp_path / "t.safetensors").read_bytes() == file.read_bytes()
    assert ticket.hash == Ticket.load(file).hash
    assert ticket.mask.count < ticket.mask.size * 0.4
    words = rf"<Ticket of \S+: density 0\.\d+, \d rounds?, seed 0, hash {ticket.hash}>"
    assert re.fullmatch(words, repr(ticket))
    assert repr(ticket.mask).startswith("<Mask of ")


def test_a_recipe_may_be_an_object_a_name_or_a_file(tiny_recipe, tmp_path):
    small = replace(tiny_recipe, search=replace(tiny_recipe.search, epochs=1, rounds=1))
    file = tmp_path / "tiny.toml"
    file.write_text(recipes.to_toml(small))
    stage = search_stage.search(Experiment(small), 1, RunDirectory.of(tmp_path, small))
    for recipe in (small, str(file), file):
        ticket = robust_tickets.find_ticket(recipe=recipe, seed=1)
        assert ticket.hash == Ticket.load(stage).hash


@pytest.mark.parametrize("arm", ARMS)
def test_weights_and_history_are_those_of_the_stage(arm, run, images, ticket):
    start = ticket if arm == "ticket" else None
    trained = robust_tickets.train(build_net, images, start, RECIPE)
    best, last = (Checkpoint.load(run / "seed-0" / arm / f"{name}.safetensors") for name in ("best", "last"))
    assert equal(trained.net.state_dict(), best.state)
    assert equal(trained.last, last.state)
    assert trained.best_epoch == best.epoch
    assert list(trained.history.epoch) == [1, 2][: last.epoch]
    row = trained.history.iloc[trained.best_epoch - 1]
    assert (row.val_clean, row.val_robust) == (best.val_clean, best.val_robust)
    assert repr(trained).endswith(f"validation {best.val_clean:.1%} clean, {best.val_robust:.1%} robust>")
    assert len(repr(best)) < 100
    assert not any(module.training for module in trained.net.modules())


def test_accuracies_are_those_of_the_stage(run, images, trained, machine):
    attacks = ["fgsm", "pgd-3"]
    rows = robust_tickets.evaluate(
        trained.net, images, RECIPE, attacks=attacks, limit=np.int64(20), seed=np.int64(2)
    )
    stage = evaluate.evaluate_file(
        run / "seed-0" / "ticket" / "best.safetensors",
        machine,
        EvaluationRequest(("fgsm", "pgd-3"), limit=20, seed=2),
        make=build_net,
        dataset=images,
    ).rows
    assert list(rows.attack) == ["clean", "fgsm", "pgd-3", "worst-case(clean fgsm pgd-3)"]
    for column in ("attack", "accuracy"):
        assert list(rows[column]) == list(stage[column])
    assert list(rows.passes) == list(stage.forwards + stage.backwards)
    assert 0 < rows.accuracy[2] < rows.accuracy[0]
    assert set(rows.n) == {20}


def test_a_comparison_writes_its_files_and_a_second_one_trains_nothing(run, images):
    assert {p.name for p in run.iterdir()} == {
        "recipe.toml", "env.json", "inputs.json", "timing.csv", "timing.md", "curves.svg", "seed-0", ".lock",
        "boosting.csv", "boosting.md", "frontier.csv", "frontier.md", "frontier.svg", "report.html",
        "epochs.svg", "phases.svg", "layers.svg",
    }  # fmt: skip
    assert {p.name for p in (run / "seed-0").iterdir()} == {*ARMS, "search"}
    for arm in ARMS:
        names = {re.sub(r"-[0-9a-f]{8}\.", "-HEX.", p.name) for p in (run / "seed-0" / arm).iterdir()}
        assert names == {
            "best.safetensors", "last.safetensors", "metrics.jsonl", "early.jsonl", "ledger.json", "arm.json",
            "robustness.csv", "evaluate-best.ledger.json", "evaluate-last.ledger.json",
            "verdicts-best-HEX.npz", "verdicts-last-HEX.npz", "sanity-best-HEX.json", "sanity-last-HEX.json",
        }  # fmt: skip
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.parent != run}
    assert robust_tickets.compare(build_net, images, RECIPE, runs=run.parent) == run
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.parent != run} == before


def test_the_table_is_that_of_the_file_and_of_several_runs(run):
    table = robust_tickets.table(run)
    written = pd.read_csv(run / "timing.csv")
    pd.testing.assert_frame_equal(table, written, check_dtype=False, rtol=1e-5)
    pd.testing.assert_frame_equal(robust_tickets.table([str(run)]), table)
    for wrong, message in (([], "or several, got none"), ([run, run], "is given twice")):
        with pytest.raises(InputError, match=message):
            robust_tickets.table(wrong)


def test_seeds_may_be_named_and_numbers_may_be_numpy_s(images, tmp_path):
    arms = {"compare": {"arms": ["dense"]}, "train": {"epochs": 1}}
    run = robust_tickets.compare(
        build_net, images, RECIPE, seeds=np.array([3, 5]), jobs=np.int64(1), runs=tmp_path, **arms
    )
    assert RunDirectory.open(run).seeds() == [3, 5]


@pytest.mark.parametrize("shown", [True, False])
def test_progress_is_shown_or_not(shown, images, capsys):
    robust_tickets.show_progress(shown)
    try:
        robust_tickets.train(build_net, images, None, RECIPE, train={"epochs": 1})
    finally:
        robust_tickets.show_progress(True)
    assert bool(capsys.readouterr().err) == shown


@pytest.mark.filterwarnings("ignore:this robust accuracy may mislead")
def test_a_module_may_replace_the_function_and_stays_as_it_is(images):
    torch.manual_seed(7)
    module = build_net().train()
    module(images.train.images[:9] / 255).sum().backward()
    attributes, weights = state_of(module)
    ticket = robust_tickets.find_ticket(module, images, RECIPE)
    assert equal(ticket.init, weights)
    robust_tickets.train(module, images, ticket, RECIPE)
    robust_tickets.evaluate(module, images, RECIPE, attacks=["pgd-2"], limit=6)
    after, now = state_of(module)
    assert after == attributes
    assert equal(now, weights)
    model = {"init": "glorot-normal"}
    fresh = robust_tickets.find_ticket(module, images, RECIPE, seed=3, model=model)
    assert not torch.equal(fresh.init["0.weight"], weights["0.weight"])


def test_frozen_weights_are_not_trained(images, capsys):
    def half_frozen() -> nn.Module:
        net = build_net()
        net[0].requires_grad_(False)
        return net

    trained = robust_tickets.train(half_frozen, images, None, RECIPE, train={"weight_decay": 0.1})
    init = Experiment(RECIPE, half_frozen, images).fresh_net(0).state_dict()
    weights = trained.net.state_dict()
    assert all(torch.equal(weights[name], init[name]) for name in ("0.weight", "0.bias"))
    assert not torch.equal(weights["5.weight"], init["5.weight"])
    assert "80 of 483 parameters are frozen (0.weight, 0.bias)" in capsys.readouterr().err


def test_a_network_with_nothing_to_prune_trains_but_has_no_ticket(images):
    def computed() -> nn.Module:
        return nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(64, 3)))

    with pytest.raises(InputError, match="nothing to prune"):
        robust_tickets.find_ticket(computed, images, RECIPE)
    assert len(robust_tickets.train(computed, images, None, RECIPE).history) == 2


def test_a_ticket_is_trained_under_its_mask(ticket, trained):
    for name, kept in ticket.mask.items():
        assert not trained.net.state_dict()[name][~kept].any()
        assert not torch.equal(trained.net.state_dict()[name], ticket.init[name] * kept)


def test_fields_override_the_recipe(images, tiny_recipe):
    search, threat = {"rounds": 1, "scope": "layer"}, {"eps": "1/255"}
    ticket = robust_tickets.find_ticket(build_net, images, RECIPE, search=search, threat=threat)
    assert ticket.mask.count == (72 - 29) + (384 - 154)  # 0.4 of each layer's weights are pruned
    assert ticket.search["search"]["rounds"] == 1
    assert ticket.search["search"]["lr"] == RECIPE.search.lr
    assert ticket.search["threat"]["eps"] == "1/255"
    data = {"train_images": 64, "val_images": 20}
    search = {"epochs": 1, "rounds": 1}
    ticket = robust_tickets.find_ticket(data=data, recipe=tiny_recipe, search=search)
    assert ticket.search["data"] == recipes.to_table(tiny_recipe)["data"] | data
    assert ticket.passes == 64 * 4  # two for FGSM and two for the update


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_example_in_the_readme_runs(whole, tmp_path, monkeypatch):
    """The reader's own are the network and the images; in short, `compare` has one seed and arm."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "find_ticket" in b]
    assert {"find_ticket", "train", "evaluate"} <= set(re.findall(r"\w+", block))
    compare = robust_tickets.compare

    def short(*arguments, **options):
        inspect.signature(compare).bind(*arguments, **options)
        return compare(*arguments, **options | {"seeds": 1, "compare": {"arms": ["dense"]}})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)  # tests have one thread
    if not whole:
        monkeypatch.setattr(robust_tickets, "compare", short)
    (x_train, y_train), (x_test, y_test) = labelled_images(400, 0), labelled_images(30, 9)
    names = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    exec(compile(block, "README.md", "exec"), {"build_net": build_net, **names})


def test_a_function_may_be_named_by_its_file(tmp_path, images, monkeypatch):
    (tmp_path / "nets_of_a_file.py").write_text("from own_case import build_net as build\n")
    monkeypatch.chdir(tmp_path)
    names = [f"{file}:build" for file in ("nets_of_a_file.py", tmp_path / "nets_of_a_file.py")]
    fields = {"train": {"epochs": 1}, "search": {"ratio": 0.5, "rounds": 1, "epochs": 1}}
    for name in names:
        ticket = robust_tickets.find_ticket(
            None, images, RECIPE, model={"name": name, "width": 1.0}, **fields
        )
        assert ticket.model.name == "nets_of_a_file:build"
