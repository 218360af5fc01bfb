"""Tickets of coefficients: search, file, arms, what needs weights, and export at low rank."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_case import EveryState, same_state, train

from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.models.weights import copy_state, load_weights
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Compare, Model
from robust_tickets.report.read import arm_result
from robust_tickets.runs.files import read_json
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.elastic import change_depth
from robust_tickets.tickets.inspection import compare_tickets, layer_table
from robust_tickets.tickets.prune_format import export_sparse, export_ticket
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training import export
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.methods.pgd import PGDSettings

BASES = ["dct", "random", "svd", "svd-block"]


@pytest.fixture(scope="module")
def recipe(tiny_recipe):
    search = replace(tiny_recipe.search, method="natural", rounds=1, ratio=0.5, iterations=6)
    train = replace(tiny_recipe.train, method="natural", pgd=PGDSettings(), epochs=1, ticket_epochs=1)
    train = replace(train, warmup=0.0, warmup_lr=0.0)
    return replace(tiny_recipe, model=Model("resnet20", width=0.5), search=search, train=train)


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("basis", ["dct", "random"])
def test_rounds_are_training_and_pruning_of_coefficients_written_out(
    basis, rounds, recipe, tiny_data, search_of
):
    search = search_of(recipe, basis=basis, rounds=rounds)
    result, net = search.run(), search.net()
    init, made = copy_state(net), result.mask.basis
    mask = Mask(dict(Mask.full(net).items()), made)
    for _ in range(rounds):
        load_weights(net, init, "init")
        train(net, mask, tiny_data, search.config)
        weights = prunable_weights(net)
        coefficients = {name: made.coefficients(name, weight.detach()) for name, weight in weights.items()}
        mask = prune(SCORES[recipe.search.criterion](coefficients, mask), mask, 0.5)
    assert result.mask == mask
    assert mask.count == round(mask.size * 0.5**rounds)
    assert same_state(result.init, init)


def test_the_first_round_in_another_basis_is_the_canonical_one_but_for_the_cut(recipe, search_of):
    results = [search_of(recipe, basis=basis).run() for basis in ("canonical", "dct")]
    losses = [[record["train_loss"] for record in result.history] for result in results]
    assert losses[0] == losses[1]
    assert results[0].mask != results[1].mask


@pytest.mark.parametrize("basis", ["svd", "svd-block"])
def test_singular_values_of_the_trained_weights_are_cut(basis, recipe, tiny_data, search_of):
    search = search_of(recipe, basis=basis)
    result, net = search.run(), search.net()
    assert same_state(result.init, copy_state(net))
    train(net, None, tiny_data, search.config)
    values = {
        name: np.linalg.svd(w.detach().double().flatten(1).numpy(), compute_uv=False)
        for name, w in prunable_weights(net).items()
    }
    total = sum(map(len, values.values()))
    kept = {name: int(entries.flatten(1).any(1).sum()) for name, entries in result.mask.items()}
    assert sum(kept.values()) == total - round(0.5 * total)
    for name, entries in result.mask.items():
        ranks = result.mask.basis.project(name, net.get_parameter(name).detach(), entries)
        truncated = np.sort(np.linalg.svd(ranks.double().flatten(1).numpy(), compute_uv=False))[::-1]
        np.testing.assert_allclose(truncated[: kept[name]], values[name][: kept[name]], rtol=1e-4)
        assert truncated[kept[name] :].max(initial=0) < 1e-5
        assert int(entries.sum()) == (kept[name] ** 2 if basis == "svd-block" else kept[name])


@pytest.mark.parametrize("basis", ["dct", "svd"])
def test_a_search_that_was_stopped_ends_with_the_same_bits(basis, recipe, search_of):
    search, every = search_of(recipe, basis=basis), EveryState()
    whole = search.run(session={"checkpointer": every})
    saved = next(state for state in every.states if state["step"] == 5)
    again = search.run(session={"saved": saved})
    assert again.mask == whole.mask
    assert same_state(again.init, whole.init)


@pytest.mark.parametrize("basis", BASES)
def test_a_comparison_trains_the_coefficients_and_its_files_are_read_back(
    basis, recipe, compare_quickly, tmp_path, capsys
):
    arms = ("dense", "ticket", "ticket-reinit")
    if not basis.startswith("svd"):
        arms += ("ticket-shuffle-layer", "random")
    recipe = replace(recipe, search=replace(recipe.search, basis=basis), compare=Compare(arms))
    run = compare_quickly(Experiment(recipe), [0], tmp_path, report=True)
    file = run.search(0).ticket
    ticket = Ticket.load(file)
    ticket.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()
    assert ticket.mask.basis.kind == basis
    for arm in arms[1:]:
        state = Checkpoint.load(run.arm(0, arm).last).state
        if arm in ("ticket", "ticket-reinit"):
            for name, entries in ticket.mask.items():
                inside = ticket.mask.basis.project(name, state[name], entries)
                assert float((state[name] - inside).norm()) <= 1e-5 * float(state[name].norm())
        result = arm_result(run, 0, arm)
        assert result.about["weights"] == ticket.mask.count
        assert (
            read_json(run.arm(0, arm).ledger)["charged_flops"]
            == arm_result(run, 0, "dense").ledger["charged_flops"]
        )
    main(["ticket", "verify", str(file)])
    assert "starts from the init of seed 0, bit for bit" in capsys.readouterr().out
    main(["ticket", "show", str(file)])
    assert f"basis {basis}" in capsys.readouterr().out


def test_what_needs_weights_refuses_a_ticket_of_coefficients_and_writes_nothing(recipe, search_of, tmp_path):
    search = search_of(recipe, basis="dct")
    result = search.run()
    ticket = Ticket(Experiment(search.recipe).model_spec, result.init, result.mask, {}, "", 0, 1, 1)
    for work in (
        lambda: export_sparse(ticket, tmp_path / "out"),
        lambda: export_ticket(ticket, tmp_path / "out"),
        lambda: change_depth(ticket, "resnet32"),
    ):
        with pytest.raises(
            InputError, match=r"keeps coefficients of the basis dct, and .* search.basis canonical"
        ):
            work()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("search", "train", "arms", "words"),
    [
        ({"basis": "dct", "optimiser": "adam"}, {}, (), r"search\.optimiser adam does not go with"),
        ({"basis": "dct"}, {"optimiser": "adam"}, ("ticket",), r"train\.optimiser adam does not go with"),
        ({"basis": "svd", "rounds": 2}, {}, (), "at the end of a training, and search.rounds is 2: give 1"),
        ({"basis": "svd", "basis_axes": "all"}, {}, (), "basis_axes does nothing to search.basis svd"),
        ({"basis": "dct", "granularity": "channel"}, {}, (), "prunes coefficients, and .* prunes channels"),
        ({"basis": "dct", "pruning_method": "snip"}, {}, (), "search.basis does nothing .* prunes weights"),
        ({"basis": "dct", "pruning_method": "edge_popup"}, {}, (), "search.basis does nothing .* weights"),
        ({"basis": "svd"}, {}, ("random",), "other positions are the smaller singular values"),
        ({"basis": "svd", "stop_distance": 0.1, "epochs": 9}, {}, (), "each in a basis of their own"),
    ],
)
def test_what_makes_no_sense_is_refused(search, train, arms, words, recipe):
    changed = replace(
        recipe,
        search=replace(recipe.search, **search),
        train=replace(recipe.train, **train),
        compare=Compare(("dense", *arms)),
    )
    with pytest.raises(InputError, match=words):
        recipes.check(changed)


def test_a_ticket_of_coefficients_is_not_trained_by_adam(recipe, search_of, tiny_data):
    search = search_of(recipe, basis="dct")
    result = search.run()
    config = replace(search.config, settings=replace(search.config.settings, optimiser="adam"))
    with pytest.raises(InputError, match=r"the optimiser adam needs one that keeps weights"):
        train(search.net(), result.mask, tiny_data, config)


def test_layers_of_low_rank_are_exported_as_two(recipe, compare_quickly, tmp_path):
    search = replace(recipe.search, basis="svd-block", ratio=0.8)
    recipe = replace(recipe, search=search, compare=Compare(("dense", "ticket")))
    run = compare_quickly(Experiment(recipe), [0], tmp_path)
    file = run.arm(0, "ticket").last
    exported, unchanged = export.export(file, "low-rank"), export.export(file, "torch")
    small, whole = exported.file, unchanged.file
    assert small.stat().st_size < whole.stat().st_size - 4000
    net, images = torch.export.load(small).module(), torch.rand(4, 1, 8, 8)
    own, before = (sum(map(torch.numel, each.parameters())) for each in (net, Checkpoint.load(file).net()))
    assert exported.check.endswith(f"; {own:,} parameters in place of {before:,}")
    assert "in place of" not in unchanged.check
    torch.testing.assert_close(net(images), Checkpoint.load(file).net()(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="no layer has so low a rank"):
        export.export(run.arm(0, "dense").last, "low-rank")
    for arm in ("dense", "ticket"):
        with pytest.raises(InputError, match="too few of its weights are zero"):
            export.export(run.arm(0, arm).last, "sparse")
        assert not list(run.arm(0, arm).path.glob("*-sparse*"))


@pytest.mark.parametrize("basis", ["dct", "random"])
def test_a_basis_of_kernels_is_refused_where_there_are_none(basis, tiny_recipe, search_of):
    search = search_of(tiny_recipe, basis=basis, rounds=1)
    with pytest.raises(InputError, match=r"leaves each layer of this network as it is.*basis-axes all"):
        search.run()
    every = search_of(tiny_recipe, basis=basis, basis_axes="all", rounds=1)
    assert every.run().mask != search_of(tiny_recipe, rounds=1).run().mask


def test_tickets_of_two_bases_are_not_compared(recipe, search_of):
    tickets = []
    for basis in ("canonical", "dct"):
        search = search_of(recipe, basis=basis)
        result = search.run()
        spec = Experiment(search.recipe).model_spec
        table = {"search": recipes.to_table(search.recipe)["search"]}
        tickets.append(Ticket(spec, result.init, result.mask, table, "", 0, 1, 1))
    with pytest.raises(InputError, match="sparse in different bases"):
        compare_tickets(*tickets)
    assert not layer_table(tickets[1].mask).dead_outputs.any()
