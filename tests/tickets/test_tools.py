"""Tickets saved, shown, compared, exported and verified."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from scipy import stats
from torch.nn.utils import prune as torch_prune
from training_case import same_state

from robust_tickets import api
from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import SPECS
from robust_tickets.models import registry
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import Model
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.specs import model_spec
from robust_tickets.tickets.inspection import compare_tickets, describe_ticket, layer_table, mask_overlap
from robust_tickets.tickets.prune_format import export_ticket
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.tickets.transforms import reinit, shuffle_layer
from robust_tickets.tickets.verification import verify


@pytest.fixture(scope="module")
def recipe(tiny_recipe):
    return replace(tiny_recipe, model=Model("conv-2", width=0.2))


@pytest.fixture(scope="module")
def file(recipe, tmp_path_factory):
    run = RunDirectory.of(tmp_path_factory.mktemp("runs"), recipe)
    return search_stage.search(Experiment(recipe), 3, run)


@pytest.fixture
def ticket(file):
    return Ticket.load(file)


def test_layers_are_counted_as_they_are():
    conv = torch.zeros(4, 3, 2, 2, dtype=torch.bool)
    conv[0, 1, 0, 0] = conv[2, 1, 1, 1] = conv[2, 2] = True
    table = layer_table(Mask({"conv.weight": conv, "fc.weight": torch.ones(2, 5) > 0}))
    assert " ".join(table) == "layer shape weights kept density dead_outputs dead_inputs"
    assert table.to_numpy().tolist() == [
        ["conv.weight", "4 x 3 x 2 x 2", 48, 6, 6 / 48, 2, 1],
        ["fc.weight", "2 x 5", 10, 10, 1.0, 0, 0],
    ]


def test_a_ticket_is_shown_with_its_origin_and_cost(ticket):
    text = describe_ticket(ticket)
    for words in (
        "conv-2 at width 0.2, images 1 x 8 x 8, 10 classes",
        f"digits, fingerprint {ticket.data}",
        "Linf 0.1",
        "imp, fgsm, 2 x 2 epochs at lr 0.1, then rewind, ratio 0.5 of the weights",
        f"{ticket.passes:,} passes",
        ticket.hash,
    ):
        assert words in text
    last = text.splitlines()[-1].split()
    assert last[:1] + last[1:3] == ["all", f"{ticket.mask.size:,}", f"{ticket.mask.count:,}"]


def test_overlap_by_chance_is_hypergeometric():
    one = Mask({"a": torch.arange(50) < 20, "b": torch.arange(30) < 3})
    other = Mask({"a": torch.arange(50) % 2 == 0, "b": torch.arange(30) < 6})
    table = mask_overlap(one, other).set_index("layer")
    for name, n, a, b, both in (("a", 50, 20, 25, 10), ("b", 30, 3, 6, 3)):
        chance = stats.hypergeom(n, a, b)
        row = table.loc[name]
        assert (row.weights, row.one, row.other, row.both) == (n, a, b, both)
        assert (row.by_chance, row.sd) == pytest.approx((chance.mean(), chance.std()))
        assert row.deviations == pytest.approx((both - chance.mean()) / chance.std())
        assert row.jaccard == pytest.approx(1 - both / (a + b - both))
    assert table.loc["all"].both == 13
    assert table.loc["all"].sd == pytest.approx(np.hypot(*table.sd[:2]))


def test_two_tickets_are_compared_by_masks_and_inits(ticket):
    assert compare_tickets(ticket, ticket).startswith("masks: the same; inits: the same")
    moved = shuffle_layer(ticket, registry.build(ticket.model, seed=9), 0)
    assert compare_tickets(ticket, moved).startswith("masks: different; inits: the same")
    assert "by chance" in compare_tickets(ticket, moved)
    other = reinit(ticket, registry.build(ticket.model, seed=9), 0)
    assert " tensors alike" in compare_tickets(ticket, other).splitlines()[0]


def test_structured_tickets_are_not_compared_with_chance(ticket):
    part = {**ticket.search, "search": {**ticket.search["search"], "granularity": "channel"}}
    structured = replace(ticket, search=part)
    text = compare_tickets(structured, structured)
    assert "by both" in text
    assert "by chance" not in text
    assert "ratio 0.5 of the channels" in describe_ticket(structured)


def test_tickets_of_different_networks_cannot_be_compared_either_way_round(ticket):
    one = Mask({"a": torch.ones(2, 2) > 0})
    with pytest.raises(InputError, match="different networks: only one has a weight"):
        mask_overlap(one, ticket.mask)
    with pytest.raises(InputError, match=r"a is \(2, 2\) in one and \(2, 3\) in the other"):
        mask_overlap(one, Mask({"a": torch.ones(2, 3) > 0}))
    less = replace(ticket, init={n: value for n, value in ticket.init.items() if not n.endswith("bias")})
    for pair in ((ticket, less), (less, ticket)):
        with pytest.raises(InputError, match="different networks: only one has a tensor"):
            compare_tickets(*pair)


def test_exports_are_what_pytorch_loads(ticket, tmp_path):
    files = {file.name: file for file in export_ticket(ticket, tmp_path / "mine")}
    net = registry.build(ticket.model, seed=11)
    net.load_state_dict(load_file(files["mine-init.safetensors"]))
    masks = load_file(files["mine-masks.safetensors"])
    assert masks.keys() == set(ticket.mask)
    assert all(torch.equal(entries, ticket.mask[name]) for name, entries in masks.items())
    by_hand = registry.build(ticket.model, seed=11)
    pruned = registry.build(ticket.model, seed=12)
    for one in (by_hand, pruned):
        for name in prunable_weights(one):
            layer = one.get_submodule(name.removesuffix(".weight"))
            torch_prune.identity(layer, "weight")
    pruned.load_state_dict(load_file(files["mine-prune.safetensors"]))
    images = torch.rand(3, *ticket.model.shape)
    with torch.no_grad():
        for name, weight in prunable_weights(net).items():
            weight.mul_(ticket.mask[name])
        assert torch.equal(pruned.eval()(images), net.eval()(images))


def test_a_whole_ticket_is_verified(ticket):
    lines = verify(ticket)
    assert lines[0].endswith(ticket.hash)
    assert lines[-1] == "starts from the init of seed 3, bit for bit"
    other = reinit(ticket, registry.build(ticket.model, seed=9), 0)
    assert "starts from other weights" in verify(other)[-1]


def test_an_init_of_trained_weights_is_told_from_others(tiny_recipe, tmp_path):
    for changes in ({"after": "lr-rewind"}, {"rewind_epochs": 1}):
        recipe = replace(tiny_recipe, search=replace(tiny_recipe.search, **changes))
        path = search_stage.search(Experiment(recipe), 0, RunDirectory.of(tmp_path, recipe))
        assert verify(Ticket.load(path))[-1].startswith("starts from trained weights")


def test_a_ticket_that_does_not_fit_is_refused(ticket):
    mask = dict(ticket.mask)
    first = next(iter(mask))
    with pytest.raises(InputError, match="no path leads through"):
        verify(replace(ticket, mask=Mask({**mask, first: torch.zeros_like(mask[first])})))
    with pytest.raises(InputError, match="does not fit the net"):
        verify(replace(ticket, mask=Mask({name: mask[name] for name in list(mask)[1:]})))
    with pytest.raises(InputError, match=r"search\.lr must be above 0"):
        describe_ticket(replace(ticket, search={**ticket.search, "search": {"lr": -1.0}}))


def my_net():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.Linear(16, 10))


def test_a_network_of_the_users_own_is_named_by_the_user(tiny_data):
    search = {"epochs": 1, "batch": 32, "pruning_method": "snip"}
    ticket = api.find_ticket(my_net, tiny_data, search=search, threat={"eps": "0.1"})
    assert "my_net, images 1 x 8 x 8" in describe_ticket(ticket)
    with pytest.raises(InputError, match=r"no code is run because a file names it: .* --model.name"):
        verify(ticket)
    assert verify(ticket, my_net)[-1] == "starts from the init of seed 0, bit for bit"


def test_saved_and_loaded_is_the_same_bit_for_bit(ticket, file, tmp_path):
    ticket.save(tmp_path / "again.safetensors")
    again = Ticket.load(tmp_path / "again.safetensors")
    assert again.mask == ticket.mask
    assert same_state(dict(sorted(again.init.items())), dict(sorted(ticket.init.items())))
    assert replace(again, init={}, mask=ticket.mask) == replace(ticket, init={})
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()
    assert again.hash == ticket.hash


def test_the_same_search_gives_the_same_bytes(file, recipe, tmp_path):
    again, other = (
        search_stage.search(Experiment(recipe), seed, RunDirectory.of(tmp_path, recipe)) for seed in (3, 4)
    )
    assert again.read_bytes() == file.read_bytes() != other.read_bytes()


def test_neither_clock_nor_path_is_in_it(file, tmp_path_factory):
    with safe_open(file, framework="pt") as content:
        meta = json.loads(content.metadata()["robust-tickets"])
    assert str(tmp_path_factory.getbasetemp()) not in json.dumps(meta)
    assert set(meta) == {
        "model", "mask", "density", "search", "data", "seed", "passes", "flops", "kind", "version", "hash",
    }  # fmt: skip
    assert "root" not in meta["search"]["data"]


def test_cost_is_that_of_the_ledger(ticket, file):
    ledger = json.loads((file.parent / "ledger.json").read_text())
    assert (ticket.passes, ticket.flops) == (ledger["charged_passes"], ledger["charged_flops"])


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Model("conv-2", width=0.4), r"fc1\.bias is \(48,\), in the network \(104,\)"),
        (Model("resnet20", width=0.5), r"\.weight"),
    ],
)
def test_another_net_is_refused_by_parameter_name(ticket, tiny_recipe, model, name):
    net = registry.build(model_spec(replace(tiny_recipe, model=model), SPECS["digits"]), seed=0)
    with pytest.raises(InputError, match=name):
        ticket.load_into(net)
