"""The ticket file: nothing lost, nothing added, nothing else accepted."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import SPECS
from robust_tickets.models import registry
from robust_tickets.recipe.fields import Model
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import search
from robust_tickets.stages.experiment import Experiment, model_spec
from robust_tickets.tickets.ticket import Ticket


@pytest.fixture
def file(tiny_recipe, machine, tmp_path):
    return search.search(Experiment(tiny_recipe), 0, RunDirectory.of(tmp_path / "a", tiny_recipe), machine)


def test_saved_and_loaded_is_the_same_bit_for_bit(file, tmp_path):
    ticket = Ticket.load(file)
    ticket.save(tmp_path / "again.safetensors")
    again = Ticket.load(tmp_path / "again.safetensors")
    assert again.mask == ticket.mask
    assert list(again.init) == list(ticket.init) or sorted(again.init) == sorted(ticket.init)
    assert all(torch.equal(again.init[name], tensor) for name, tensor in ticket.init.items())
    assert replace(again, init={}, mask=ticket.mask) == replace(ticket, init={})
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()
    assert again.hash == ticket.hash


def test_the_same_search_gives_the_same_bytes(file, tiny_recipe, machine, tmp_path):
    again = search.search(Experiment(tiny_recipe), 0, RunDirectory.of(tmp_path / "b", tiny_recipe), machine)
    assert again != file
    assert again.read_bytes() == file.read_bytes()
    other = search.search(Experiment(tiny_recipe), 1, RunDirectory.of(tmp_path / "b", tiny_recipe), machine)
    assert other.read_bytes() != file.read_bytes()


def test_the_init_is_the_net_s_own_and_whole(file, tiny_recipe):
    net = registry.build(model_spec(tiny_recipe, SPECS["digits"]), seed=0)
    ticket = Ticket.load(file)
    assert all(torch.equal(ticket.init[name], value) for name, value in net.state_dict().items())


def test_density_after_the_rounds(file, tiny_recipe):
    ticket = Ticket.load(file)
    count = ticket.mask.size
    for _ in range(tiny_recipe.search.rounds):
        count -= round(tiny_recipe.search.ratio * count)
    assert ticket.mask.count == count


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


def test_a_truncated_or_altered_file_is_refused(file, tmp_path):
    whole = file.read_bytes()
    bad = tmp_path / "bad.safetensors"
    for cut in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        bad.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"damaged|not written by"):
            Ticket.load(bad)
    altered = bytearray(whole)
    altered[-5] ^= 1
    bad.write_bytes(altered)
    with pytest.raises(InputError, match="hash"):
        Ticket.load(bad)
