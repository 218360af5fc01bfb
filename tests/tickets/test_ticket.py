"""The ticket file: nothing lost, nothing added, nothing else accepted."""

import json
from dataclasses import replace

import pytest
from safetensors import safe_open
from training_case import same_state

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import SPECS
from robust_tickets.models import registry
from robust_tickets.recipe.fields import Model
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import search
from robust_tickets.stages.experiment import Experiment, model_spec
from robust_tickets.tickets.ticket import Ticket


@pytest.fixture
def file(tiny_recipe, tmp_path):
    return search.search(Experiment(tiny_recipe), 0, RunDirectory.of(tmp_path / "a", tiny_recipe))


def test_saved_and_loaded_is_the_same_bit_for_bit(file, tmp_path):
    ticket = Ticket.load(file)
    ticket.save(tmp_path / "again.safetensors")
    again = Ticket.load(tmp_path / "again.safetensors")
    assert again.mask == ticket.mask
    assert same_state(dict(sorted(again.init.items())), dict(sorted(ticket.init.items())))
    assert replace(again, init={}, mask=ticket.mask) == replace(ticket, init={})
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()
    assert again.hash == ticket.hash


def test_the_same_search_gives_the_same_bytes(file, tiny_recipe, tmp_path):
    again = search.search(Experiment(tiny_recipe), 0, RunDirectory.of(tmp_path / "b", tiny_recipe))
    assert again != file
    assert again.read_bytes() == file.read_bytes()
    other = search.search(Experiment(tiny_recipe), 1, RunDirectory.of(tmp_path / "b", tiny_recipe))
    assert other.read_bytes() != file.read_bytes()


def test_neither_clock_nor_path_is_in_it(file, tmp_path):
    with safe_open(file, framework="pt") as content:
        meta = json.loads(content.metadata()["robust-tickets"])
    assert str(tmp_path) not in json.dumps(meta)
    assert set(meta) == {
        "model", "mask", "density", "search", "data", "seed", "passes", "flops", "kind", "version", "hash",
    }  # fmt: skip
    assert "root" not in meta["search"]["data"]


def test_cost_is_that_of_the_ledger(file):
    ticket = Ticket.load(file)
    ledger = json.loads((file.parent / "ledger.json").read_text())
    assert (ticket.passes, ticket.flops) == (ledger["charged_passes"], ledger["charged_flops"])


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Model("lenet-300-100", width=0.4), r"fc1\.weight is \(60, 64\)"),
        (Model("resnet20", width=0.5), r"\.weight"),
    ],
)
def test_another_net_is_refused_by_parameter_name(file, tiny_recipe, model, name):
    net = registry.build(model_spec(replace(tiny_recipe, model=model), SPECS["digits"]), seed=0)
    with pytest.raises(InputError, match=name):
        Ticket.load(file).load_into(net)
