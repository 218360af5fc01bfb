"""Rounds that go on from an earlier search give what an uninterrupted search gives."""

import json
import shutil
from dataclasses import replace

import pytest

from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe.fields import Model, Search
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json
from robust_tickets.stages import plan

SEARCHES = {
    "epochs": Search(batch=32, method="fgsm", epochs=1, ratio=0.3),
    "rewound": Search(
        batch=32, method="natural", iterations=6, rewind_iterations=2, ratio=0.3, schedule="cosine"
    ),
    "by layer": Search(
        batch=32, method="natural", epochs=1, ratio=0.3, scope="layer", optimiser="adam", lr=0.01
    ),
}


@pytest.fixture
def of(tiny_recipe):
    """The recipe with a search of so many rounds."""

    def make(kind, rounds):
        model = (
            Model("resnet20", width=0.5) if kind == "rewound" else Model("conv-2", width=0.25, dropout=0.2)
        )
        return replace(tiny_recipe, model=model, search=replace(SEARCHES[kind], rounds=rounds))

    return make


def account(folder):
    """The ledger of a search but for its seconds."""
    ledger = read_json(folder / "ledger.json")
    return {key: value for key, value in ledger.items() if "seconds" not in key}


def same(one, other):
    """Whether two folders hold the same rounds, for the same cost."""
    files = all(
        (one / n).read_bytes() == (other / n).read_bytes() for n in ("ticket.safetensors", "metrics.jsonl")
    )
    return files and account(one) == account(other)


@pytest.mark.parametrize("kind", SEARCHES)
def test_more_rounds_go_on_from_a_run_beside(kind, of, search, tmp_path):
    whole, trained = search(of(kind, 4), tmp_path / "whole")
    assert trained == 4
    first, trained = search(of(kind, 2), tmp_path / "runs")
    assert trained == 2
    continued, trained = search(of(kind, 4), tmp_path / "runs")
    assert trained == 2
    assert first.parents[1] != continued.parents[1]
    assert same(continued, whole)
    assert same(continued / "round-3", whole / "round-3")
    assert same(first, whole / "round-2"), "a round is what a search of so many rounds gives"
    assert not same(continued, first)


def test_every_trained_epoch_is_counted_once(of, search, tmp_path):
    """The continued ledger is that of the plan: what was carried, and what was new."""
    search(of("rewound", 2), tmp_path)
    recipe = of("rewound", 3)
    folder, _ = search(recipe, tmp_path)
    assert account(folder)["charged_passes"] == plan.search_passes(recipe, SPECS["digits"]).total
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 1, 2, 2, 3, 3]
    assert [line["passes"] for line in lines] == sorted({line["passes"] for line in lines})


def test_the_seconds_of_earlier_rounds_are_carried(of, search, tmp_path):
    before, _ = search(of("epochs", 2), tmp_path)
    ledger = read_json(before / "ledger.json")
    ledger["seconds"]["update"] = 1000.0
    (before / "ledger.json").write_text(json.dumps(ledger))
    folder, _ = search(of("epochs", 3), tmp_path)
    assert 1000 < read_json(folder / "ledger.json")["seconds"]["update"] < 1100
    assert 1000 < read_json(folder / "ledger.json")["charged_seconds"] < 1100


@pytest.mark.parametrize("rounds", [1, 3])
def test_fewer_rounds_need_no_training(rounds, of, search, tmp_path):
    long, _ = search(of("epochs", 4), tmp_path / "runs")
    short, trained = search(of("epochs", rounds), tmp_path / "runs")
    alone, _ = search(of("epochs", rounds), tmp_path / "alone")
    assert trained == 0
    assert same(short, long / f"round-{rounds}")
    assert same(short, alone)


@pytest.mark.parametrize(("kind", "stop"), [("epochs", 1), ("rewound", 2), ("by layer", 3)])
def test_a_search_that_stopped_between_rounds_goes_on(kind, stop, of, search, fits, tmp_path):
    recipe = of(kind, 4)
    fits.stop = stop
    with pytest.raises(KeyboardInterrupt):
        search(recipe, tmp_path / "runs")
    assert not RunDirectory.of(tmp_path / "runs", recipe).search(0).ledger.exists()
    fits.stop = None
    folder, trained = search(recipe, tmp_path / "runs")
    assert trained == 4 - stop
    whole, _ = search(recipe, tmp_path / "whole")
    assert same(folder, whole)
    assert all(same(folder / f"round-{n}", whole / f"round-{n}") for n in (1, 2, 3))


def test_it_goes_on_from_the_most_rounds_and_says_from_where(of, search, spoken, tmp_path):
    for rounds in (1, 3, 2):
        search(of("epochs", rounds), tmp_path)
    spoken.lines.clear()
    _, trained = search(of("epochs", 4), tmp_path)
    assert trained == 1
    source = RunDirectory.of(tmp_path, of("epochs", 3)).search(0)
    assert spoken.lines == [f"going on from round 3 in {source}"]


def test_a_finished_search_is_left_as_it_is(of, search, spoken, tmp_path):
    folder, _ = search(of("epochs", 2), tmp_path)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    again, trained = search(of("epochs", 2), tmp_path)
    assert (again, trained) == (folder, 0)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
    assert spoken.lines[-1].endswith("is there already")


def test_a_recipe_whose_search_is_the_same_needs_no_search(of, search, tmp_path):
    """Its name and its training of the arms do not matter to a ticket."""
    folder, _ = search(of("epochs", 2), tmp_path)
    recipe = of("epochs", 2)
    other, trained = search(replace(recipe, name="other", train=replace(recipe.train, lr=0.2)), tmp_path)
    assert trained == 0
    assert same(folder, other)


def damage(kind, folder):
    ticket, metrics, ledger = (folder / n for n in ("ticket.safetensors", "metrics.jsonl", "ledger.json"))
    if kind == "ticket cut short":
        ticket.write_bytes(ticket.read_bytes()[:-100])
    elif kind == "no ticket":
        ticket.unlink()
    elif kind == "another round's ticket":
        shutil.copyfile(folder / "round-1" / "ticket.safetensors", ticket)
    elif kind == "a round of the metrics missing":
        metrics.write_text("".join(line + "\n" for line in metrics.read_text().splitlines()[:-1]))
    elif kind == "metrics empty":
        metrics.write_text("")
    elif kind == "metrics no records":
        metrics.write_text("3\n[]\n")
    elif kind == "no metrics":
        metrics.unlink()
    elif kind == "ledger cut short":
        ledger.write_text(ledger.read_text()[:40])
    else:
        ledger.write_text(kind.removeprefix("ledger "))


@pytest.mark.parametrize(
    "kind",
    [
        "ticket cut short",
        "no ticket",
        "another round's ticket",
        "a round of the metrics missing",
        "metrics empty",
        "metrics no records",
        "no metrics",
        "ledger cut short",
        "ledger {}",
        "ledger []",
        'ledger {"seconds": {"nap": 1}, "passes": {}, "flops": {}}',
    ],
)
def test_what_is_damaged_is_passed_over_for_the_next_best(kind, of, search, spoken, tmp_path):
    whole, _ = search(of("epochs", 4), tmp_path / "whole")
    damaged, _ = search(of("epochs", 3), tmp_path / "runs")
    damage(kind, damaged)
    spoken.lines.clear()
    folder, trained = search(of("epochs", 4), tmp_path / "runs")
    assert trained == 2
    assert same(folder, whole)
    assert spoken.lines[0].startswith("passed over: ")
    assert str(damaged) in spoken.lines[0]
    assert spoken.lines[1:] == [f"going on from round 2 in {damaged / 'round-2'}"]
