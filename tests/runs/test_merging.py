"""Seeds from several places in one run directory: as if they had been run there."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.recipe.fields import Compare
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.merging import merge
from robust_tickets.stages.experiment import Experiment


@pytest.fixture(scope="module")
def whole(tiny_recipe, tmp_path_factory, compare_quickly):
    """A run of three seeds."""
    train = replace(tiny_recipe.train, epochs=1, ticket_epochs=1)
    search = replace(tiny_recipe.search, rounds=1, epochs=1)
    recipe = replace(tiny_recipe, train=train, search=search, compare=Compare(("dense", "ticket")))
    return compare_quickly(Experiment(recipe), [0, 1, 2], tmp_path_factory.mktemp("whole"), report=True)


@pytest.fixture
def parts(whole, tmp_path):
    """The same run, with seed 0 in one place and the others in another."""
    runs = []
    for place, seeds in (("here", [0]), ("there", [1, 2])):
        path = tmp_path / place / whole.path.name
        shutil.copytree(whole.path, path)
        for seed in {0, 1, 2} - set(seeds):
            shutil.rmtree(path / f"seed-{seed}")
        runs.append(path)
    return runs


def files(path):
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and ".lock" not in file.name and file.suffix != ".svg"
    }


def test_the_run_is_what_it_would_have_been_in_one_place(parts, whole, capsys):
    before = files(parts[1])
    main(["runs", "merge", *map(str, parts)])
    assert capsys.readouterr().out.splitlines()[:2] == [f"seed {s}: from {parts[1]}" for s in (1, 2)]
    assert files(parts[0]) == files(whole.path)
    assert files(parts[1]) == before


def test_another_machine_is_listed_and_its_seconds_are_marked(parts):
    file = parts[1] / "env.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "cpu": "another one"}))
    main(["runs", "merge", *map(str, parts)])
    run = RunDirectory.open(parts[0])
    assert [machine["cpu"] == "another one" for machine in run.machines()] == [False, True]
    assert set(pd.read_csv(run.timing_csv).machines) == {2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda here, there: shutil.copytree(here / "seed-0", there / "seed-0"), "seed 0 is in .* and in"),
        (lambda here, there: edit(there / "inputs.json", images="f" * 16), "began with other images"),
        (lambda here, there: edit(there / "env.json", torch="1.0"), "another version of PyTorch"),
        (
            lambda here, there: (there / "recipe.toml").write_text(
                (there / "recipe.toml").read_text().replace("lr = 0.1", "lr = 0.2")
            ),
            "is of another recipe",
        ),
        (lambda here, there: (there / "recipe.toml").unlink(), "is no run directory"),
    ],
)
def test_what_does_not_belong_together_is_refused_and_nothing_is_copied(change, message, parts):
    change(*parts)
    before = files(parts[0])
    with pytest.raises(InputError, match=message):
        merge(parts[0], parts[1:])
    assert files(parts[0]) == before


def edit(file, **fields):
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**content, **fields}))


def test_one_run_alone_is_refused(parts, capsys):
    with pytest.raises(SystemExit):
        main(["runs", "merge", str(parts[0])])
    assert "needs two run directories at least" in " ".join(capsys.readouterr().err.split())
