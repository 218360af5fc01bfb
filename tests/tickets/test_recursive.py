"""Recursive tickets: growth that changes nothing, rounds on growing networks, and what cannot grow."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from training_case import EveryState, same_state, train

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.cli.main import main
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.weights import copy_state, load_weights
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Model
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json
from robust_tickets.stages import costs
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.growth import grow
from robust_tickets.tickets.methods.recursive import RecursiveSettings
from robust_tickets.tickets.ticket import Ticket

SPEC = ModelSpec("resnet14", 0.5, (3, 16, 16), 10, (0.5,) * 3, (0.25,) * 3)


def lively(name, seed=0, spec=SPEC):
    """A network with statistics and gammas of its own."""
    net = registry.build(replace(spec, name=name), seed=seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
        net.train()(torch.rand(16, *spec.shape))
    return net


@pytest.mark.parametrize(
    ("shallow", "deep", "insert"),
    [("resnet14", "resnet32", "zero-block"), ("mlp-1", "mlp-4", "identity-linear")],
)
@pytest.mark.parametrize("training", [True, False])
def test_growth_by_identities_leaves_every_logit_as_it_is(shallow, deep, insert, training):
    small, large = lively(shallow), registry.build(replace(SPEC, name=deep), seed=1)
    mask = Mask({name: torch.rand(w.shape) < 0.5 for name, w in prunable_weights(small).items()})
    before = copy_state(small)
    state, grown = grow(before, mask, large, insert)
    images = torch.rand(8, *SPEC.shape)
    assert torch.equal(large.train(training)(images), small.train(training)(images))
    assert same_state({name: state[name] for name in before}, before)
    assert all(torch.equal(grown[name], mask[name]) for name in mask)
    assert all(bool(grown[name].all()) for name in grown if name not in mask)
    assert grown.count == mask.count + grown.size - mask.size


def test_a_dirac_block_doubles_what_it_is_given():
    large = registry.build(replace(SPEC, name="resnet20"), seed=1)
    grow(copy_state(lively("resnet14")), Mask.full(lively("resnet14")), large, "dirac-block")
    x = torch.rand(4, 8, 16, 16)
    block = large.eval().layer1[2]
    torch.testing.assert_close(block(x.clone()), 2 * x, rtol=2e-5, atol=0)


@pytest.mark.parametrize(
    ("shallow", "deep", "insert", "words"),
    [
        ("resnet14", "resnet14", "zero-block", "both networks have the same layers"),
        ("resnet20", "resnet14", "zero-block", r"has no place in CifarResNet: grow into a"),
        ("vgg11", "vgg13", "zero-block", "has no place in VGG"),
        ("wrn10-1", "wrn16-1", "zero-block", "zero-block has no place in WideResNet"),
        ("resnet14", "resnet20", "identity-linear", "identity-linear has no place in CifarResNet"),
        ("mlp-1", "mlp-2", "zero-block", "zero-block has no place in MLP"),
    ],
)
def test_what_cannot_grow_is_refused_by_name(shallow, deep, insert, words):
    spec = replace(SPEC, shape=(3, 32, 32), width=0.25)
    small, large = (registry.build(replace(spec, name=name), seed=0) for name in (shallow, deep))
    with pytest.raises(InputError, match=words):
        grow(copy_state(small), Mask.full(small), large, insert)


@pytest.fixture
def recipe(tiny_recipe):
    growth = RecursiveSettings(networks="mlp-1 mlp-2", insert="identity-linear")
    fields = {"pruning_method": "recursive", "recursive": growth}
    search = replace(tiny_recipe.search, method="natural", rounds=1, ratio=0.3, iterations=6, **fields)
    return replace(tiny_recipe, model=Model("mlp-3", width=0.25), search=search)


def found(recipe, folder):
    run = RunDirectory.of(folder, recipe)
    return run, Ticket.load(search_stage.search(Experiment(recipe), 0, run))


@pytest.mark.parametrize("reset", [False, True])
def test_rounds_are_training_pruning_and_growth_written_out(reset, recipe, tiny_data, tmp_path):
    growth = replace(recipe.search.recursive, reset=reset)
    recipe = replace(recipe, search=replace(recipe.search, **{"recursive": growth}))
    run, ticket = found(recipe, tmp_path)
    state, mask = None, None
    for number, name in enumerate(("mlp-1", "mlp-2", "mlp-3"), 1):
        experiment = Experiment(replace(recipe, model=replace(recipe.model, name=name)))
        net = experiment.fresh_net(0)
        init = copy_state(net)
        if state is None:
            mask = Mask.full(net)
        else:
            state, mask = grow(state, mask, net, "identity-linear")
            if reset:
                load_weights(net, init, "init")
        train(net, mask, tiny_data, experiment.config(recipe.search, 6, 0))
        mask = prune(SCORES[recipe.search.criterion](prunable_weights(net), mask), mask, 0.3)
        state = init if reset else copy_state(net)
        if number < 3:
            part = Ticket.load(run.search(0).round(number).ticket)
            assert part.model.name == name
            assert part.mask == mask
            with pytest.raises(InputError):
                part.load_into(Experiment(recipe).fresh_net(0))
    assert ticket.model.name == "mlp-3"
    assert ticket.mask == mask
    assert same_state(ticket.init, state)


def test_growth_alone_prunes_nothing(recipe, tmp_path):
    growth = replace(recipe.search.recursive, prune=False)
    search = replace(recipe.search, ratio=0.8, **{"recursive": growth})
    _, ticket = found(replace(recipe, search=search), tmp_path)
    assert ticket.mask.density == 1


def test_its_cost_is_that_of_the_networks_of_its_rounds(recipe, tiny_data, tmp_path):
    run, _ = found(recipe, tmp_path)
    ledger = read_json(run.search(0).ledger)
    flops = [
        2
        * sum(
            w.numel()
            for w in prunable_weights(
                Experiment(replace(recipe, model=replace(recipe.model, name=n))).fresh_net(0)
            ).values()
        )
        for n in ("mlp-1", "mlp-2", "mlp-3")
    ]
    assert ledger["charged_flops"] == sum(3 * 6 * 32 * each for each in flops)  # forward 1, full backward 2
    assert costs.search_cost(recipe, tiny_data.spec) * flops[-1] == pytest.approx(ledger["charged_flops"])
    assert costs.search_passes(recipe, tiny_data.spec).total == ledger["charged_passes"]


def test_a_search_goes_on_after_the_rounds_on_disk(recipe, tmp_path):
    _, whole = found(recipe, tmp_path / "one")
    other = RunDirectory.of(tmp_path / "two", recipe)
    found(recipe, tmp_path / "two")
    folder = other.search(0)
    for file in (folder.ticket, folder.ledger, folder.metrics):
        file.unlink()
    for file in folder.round(2).path.iterdir():
        file.unlink()
    again = Ticket.load(search_stage.search(Experiment(recipe), 0, other))
    assert again.hash == whole.hash


@pytest.mark.parametrize("reset", [False, True])
def test_a_search_that_was_stopped_within_a_round_ends_with_the_same_bits(reset, recipe, search_of):
    growth = replace(recipe.search.recursive, reset=reset)
    search, every, rounds = search_of(recipe, method="fgsm", recursive=growth), EveryState(), []

    def build(name):
        return Experiment(replace(recipe, model=replace(recipe.model, name=name))).fresh_net(0)

    whole = search.run(session={"checkpointer": every}, save=rounds.append, build=build)
    for number, step in ((1, 2), (2, 3), (3, 5)):
        saved = next(
            state
            for state, identity in zip(every.states, every.identities, strict=True)
            if (identity["round"], state["step"]) == (number, step)
        )
        earlier = rounds[number - 2] if number > 1 else None
        again = search.run(session={"saved": saved}, earlier=earlier, build=build)
        assert again.mask == whole.mask
        assert same_state(again.init, whole.init)


def test_the_rounds_of_a_search_are_shown(recipe, tmp_path, capsys):
    run, _ = found(recipe, tmp_path)
    main(["ticket", "rounds", str(run.search(0).ticket), "--target", "0.01", "--kind", "clean"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert all(line.split()[-1] == "1" for line in lines[1:4])
    main(["ticket", "rounds", str(run.search(0).ticket), "--target", "1"])
    assert capsys.readouterr().out.count("not reached") == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recursive": RecursiveSettings()}, r"search\.recursive\.networks, which is empty"),
        ({"rounds": 2}, "search.rounds does nothing with .* recursive"),
        ({"granularity": "channel"}, "prunes single weights, and search.granularity channel"),
        ({"recursive": RecursiveSettings("mlp-1", prune=False)}, "search.ratio does nothing where"),
    ],
)
def test_fields_that_make_no_sense_are_refused(changes, words, recipe):
    with pytest.raises(InputError, match=words):
        recipes.check(replace(recipe, search=replace(recipe.search, **changes)))


def test_networks_that_cannot_grow_are_refused_before_a_step(recipe, tmp_path):
    growth = RecursiveSettings(networks="resnet14", insert="identity-linear")
    recipe = replace(recipe, search=replace(recipe.search, **{"recursive": growth}))
    ledger = Ledger("search")
    with pytest.raises(InputError, match="has no place in MLP"):
        found(recipe, tmp_path)
    assert ledger.charged_passes == 0
