"""The Python interface: the same numbers as the stages, the user's things left alone, mistakes answered."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import robust_tickets
from robust_tickets import recipe, stages
from robust_tickets.data import Dataset
from robust_tickets.eps import Eps
from robust_tickets.errors import InputError
from robust_tickets.recipe import Recipe
from robust_tickets.runs import RunDirectory
from robust_tickets.settings import Compute, Evaluate, Search, Threat, Train
from robust_tickets.stages import Experiment
from robust_tickets.tickets import Ticket
from robust_tickets.training import Checkpoint

RECIPE = Recipe(
    name="own",
    threat=Threat(Eps("0.1")),
    search=Search(method="fgsm", epochs=1, batch=16, lr=0.05, rounds=2, ratio=0.4),
    train=Train(method="fgsm", epochs=2, ticket_epochs=1, batch=16, lr=0.05),
    evaluate=Evaluate(batch=20, val_steps=1),
    compute=Compute(threads=1),
)
ARMS = ["dense", "dense-short", "dense-equal-cost", "ticket"]


def build_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 3),
    )


def pair(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images of three classes, each with a bright third of its own."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.rand(n, 1, 8, 8, generator=generator) * 0.6, torch.arange(n) % 3
    for label in range(3):
        images[labels == label, :, 2 * label + 1 : 2 * label + 3] += 0.4
    return images, labels


def made(seed: int = 0) -> Dataset:
    return robust_tickets.images(pair(60, seed), pair(30, 9), val_images=12)


@pytest.fixture(scope="module")
def images() -> Dataset:
    return made()


@pytest.fixture(scope="module")
def run(images, tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    return robust_tickets.compare(build_net, images, RECIPE, runs=runs, quiet=True)


@pytest.fixture(scope="module")
def ticket(images) -> Ticket:
    return robust_tickets.find_ticket(build_net, images, RECIPE, quiet=True)


@pytest.fixture(scope="module")
def trained(images, ticket) -> robust_tickets.Trained:
    return robust_tickets.train(build_net, images, ticket, RECIPE, quiet=True)


def state_of(net: nn.Module) -> tuple[list[object], dict[str, Tensor]]:
    same = [(id(m), m.training, len(m._forward_hooks)) for m in net.modules()]
    same += [(id(p), p.requires_grad, p.grad is None, p.stride()) for p in net.parameters()]
    return same, {name: tensor.clone() for name, tensor in net.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_ticket_is_the_one_that_the_stage_finds(run, ticket, tmp_path):
    file = Ticket.load(run / "seed-0" / "search" / "ticket.safetensors")
    assert file.hash == ticket.hash
    assert file.mask == ticket.mask
    assert ticket.mask.kept < ticket.mask.size * 0.4
    ticket.save(tmp_path / "t.safetensors")
    assert (tmp_path / "t.safetensors").read_bytes() == (
        run / "seed-0" / "search" / "ticket.safetensors"
    ).read_bytes()


def test_a_ticket_of_a_shipped_recipe_s_own_net_and_data_is_the_stage_s(tiny_recipe, tmp_path, machine):
    small = replace(tiny_recipe, search=replace(tiny_recipe.search, epochs=1, rounds=1))
    file = tmp_path / "tiny.toml"
    file.write_text(recipe.dumps(small))
    stage = stages.search(Experiment(small), 1, RunDirectory.of(tmp_path, small), machine)
    for given in (small, str(file), file):
        found = robust_tickets.find_ticket(recipe=given, seed=1, quiet=True)
        assert found.hash == Ticket.load(stage).hash


@pytest.mark.parametrize("arm", ["dense", "ticket"])
def test_weights_and_history_are_those_of_the_stage(arm, run, images, ticket):
    start = ticket if arm == "ticket" else None
    trained = robust_tickets.train(build_net, images, start, RECIPE, quiet=True)
    best, last = (Checkpoint.load(run / "seed-0" / arm / f"{name}.safetensors") for name in ("best", "last"))
    assert equal(trained.net.state_dict(), best.state)
    assert equal(trained.last, last.state)
    assert trained.best_epoch == best.epoch
    assert list(trained.history.epoch) == [1, 2][: last.epoch]
    row = trained.history.iloc[trained.best_epoch - 1]
    assert (row.val_clean, row.val_robust) == (best.val_clean, best.val_robust)
    assert not any(module.training for module in trained.net.modules())


def test_accuracies_are_those_of_the_stage(run, images, trained, machine):
    rows = robust_tickets.evaluate(
        trained.net, images, RECIPE, attacks=["fgsm", "pgd-3"], limit=20, seed=2
    ).set_index("attack")
    _, theirs = stages.evaluate_file(
        run / "seed-0" / "ticket" / "best.safetensors",
        machine,
        attacks=("fgsm", "pgd-3"),
        split="test",
        limit=20,
        seed=2,
        make=build_net,
        images=images,
    )
    theirs = theirs.set_index("attack")
    assert (
        list(rows.index) == list(theirs.index) == ["clean", "fgsm", "pgd-3", "worst-case(clean fgsm pgd-3)"]
    )
    assert list(rows.accuracy) == list(theirs.accuracy)
    assert list(rows.passes) == list(theirs.forwards + theirs.backwards)

    assert 0 < rows.accuracy["pgd-3"] < rows.accuracy["clean"]
    assert set(rows.n) == {20}


def test_a_comparison_leaves_all_its_files_and_a_second_trains_nothing(run, images):
    assert {p.name for p in run.iterdir()} == {
        "recipe.toml", "env.json", "inputs.json", "timing.csv", "timing.md", "curves.svg", "seed-0",
    }  # fmt: skip
    assert {p.name for p in (run / "seed-0").iterdir()} == {*ARMS, "search"}
    for arm in ARMS:
        assert {p.name for p in (run / "seed-0" / arm).iterdir()} == {
            "best.safetensors", "last.safetensors", "metrics.jsonl", "ledger.json", "arm.json",
            "robustness.csv", "evaluate-best.ledger.json", "evaluate-last.ledger.json",
        }  # fmt: skip
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.parent != run}
    assert robust_tickets.compare(build_net, images, RECIPE, runs=run.parent, quiet=True) == run
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.parent != run} == before


def other_net() -> nn.Module:
    return nn.Sequential(*build_net(), nn.Linear(3, 3))


other_net.__name__, other_net.__qualname__, other_net.__module__ = "build_net", "build_net", __name__


def test_another_net_or_other_images_in_the_same_run_are_refused(run, images):
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    for net, data, what in ((other_net, images, "net"), (build_net, made(1), "images")):
        with pytest.raises(InputError, match=f"was begun with other {what} than this .*another folder"):
            robust_tickets.compare(net, data, RECIPE, runs=run.parent, quiet=True)
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before


def test_a_module_has_one_init_so_several_seeds_are_refused(images, tmp_path):
    with pytest.raises(InputError, match=r"2 seeds need as many inits.*function.*glorot-normal"):
        robust_tickets.compare(build_net(), images, RECIPE, seeds=2, runs=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_module_may_stand_for_the_function(images):
    torch.manual_seed(7)
    module = build_net()
    same, before = state_of(module)
    ticket = robust_tickets.find_ticket(module, images, RECIPE, quiet=True)
    assert equal(ticket.init, before)
    trained = robust_tickets.train(module, images, ticket, RECIPE, quiet=True)
    robust_tickets.evaluate(trained.net, images, RECIPE, attacks=["fgsm"], limit=6)
    after, now = state_of(module)
    assert after == same
    assert equal(now, before)
    fresh = robust_tickets.find_ticket(
        module, images, RECIPE, seed=3, quiet=True, model={"init": "glorot-normal"}
    )
    assert not torch.equal(fresh.init["0.weight"], before["0.weight"])


def test_evaluation_leaves_a_net_in_training_as_it_was(images):
    module = build_net().train()
    module(images.train.images[:9] / 255).sum().backward()
    module[0].weight.requires_grad_(False)
    same, before = state_of(module)
    robust_tickets.evaluate(module, images, RECIPE, attacks=["pgd-2"], limit=6)
    after, now = state_of(module)
    assert after == same
    assert equal(now, before)


def test_frozen_weights_stay_as_they_are_in_training(images, capsys):
    def half_frozen() -> nn.Module:
        net = build_net()
        net[0].requires_grad_(False)
        return net

    trained = robust_tickets.train(half_frozen, images, None, RECIPE, train={"weight_decay": 0.1})
    init = Experiment(RECIPE, half_frozen, images).fresh_net(0, stages.Machine("cpu", None)).state_dict()
    now = trained.net.state_dict()
    assert all(torch.equal(now[name], init[name]) for name in ("0.weight", "0.bias"))
    assert not torch.equal(now["5.weight"], init["5.weight"])
    assert "not trained: 80 of 483 parameters are frozen (0.weight, 0.bias)" in capsys.readouterr().err


def test_a_net_with_nothing_to_prune_trains_but_has_no_ticket(images):
    def computed() -> nn.Module:
        return nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(64, 3)))

    with pytest.raises(InputError, match="nothing to prune"):
        robust_tickets.find_ticket(computed, images, RECIPE, quiet=True)
    assert len(robust_tickets.train(computed, images, None, RECIPE, quiet=True).history) == 2


def test_a_pruned_ticket_is_trained_under_its_mask_and_from_its_init(images, ticket, trained):
    for name, kept in ticket.mask.items():
        assert not trained.net.state_dict()[name][~kept].any()
        assert not torch.equal(trained.net.state_dict()[name], ticket.init[name] * kept)


def test_fields_override_the_recipe(images):
    ticket = robust_tickets.find_ticket(
        build_net, images, RECIPE, quiet=True, search={"rounds": 1, "scope": "layer"}, threat={"eps": "1/255"}
    )
    assert ticket.mask.kept == (72 - 29) + (384 - 154)  # 0.4 of each layer's weights
    assert ticket.search["search"]["rounds"] == 1
    assert ticket.search["search"]["lr"] == RECIPE.search.lr
    assert ticket.search["threat"]["eps"] == "1/255"
    trained = robust_tickets.train(build_net, images, None, RECIPE, quiet=True, train={"epochs": 1})
    assert len(trained.history) == 1


def test_data_may_be_fields_of_the_recipe(tiny_recipe):
    data = {"train_images": 64, "val_images": 20}
    found = robust_tickets.find_ticket(
        data=data, recipe=tiny_recipe, quiet=True, search={"epochs": 1, "rounds": 1}
    )
    assert found.search["data"] == recipe.record(tiny_recipe)["data"] | data
    # 64 images in batches of 32, two passes for FGSM and two for the update
    assert found.passes == 64 * 4


def test_the_run_is_named_by_the_recipe_or_by_hand(images, tmp_path):
    what = {"runs": tmp_path, "quiet": True, "compare": {"arms": ["dense"]}, "train": {"epochs": 1}}
    run = robust_tickets.compare(build_net, images, RECIPE, name="mine", **what)
    assert run.name.startswith("mine-")


WRONG = {
    "unknown concern": ({"serach": {"lr": 1}}, "'serach'; did you mean 'search'"),
    "unknown field": ({"search": {"lrr": 1}}, "'search.lrr'; did you mean 'lr'"),
    "no table": ({"search": 3}, "search must be a table of fields, got 3"),
    "no table of the net's": ({"model": "resnet20"}, "model must be a table of fields, got 'resnet20'"),
    "no value": ({"search": {"lr": -1}}, "search.lr must be above 0, got -1"),
    "another type": ({"search": {"epochs": 1.5}}, "search.epochs must be a whole number, got 1.5"),
    "wide": ({"model": {"width": 2}}, "model.width does nothing; leave it out"),
    "recipe unknown": ({"recipe": "dmeo"}, "unknown recipe 'dmeo'; did you mean 'demo'"),
    "device": ({"device": "nonsense"}, "device 'nonsense'"),
    "seed": ({"seed": -1}, "seed must be a whole number of at least 0; -1"),
    "net's name": ({"net": "resnet20"}, "net is a str; function; model={'name': 'resnet20'}"),
    "no net": ({"net": lambda: None}, "own:net returned a NoneType, expected an nn.Module"),
    "no images": ({"data": 3}, "or a table of fields, got a int"),
    "images' field": ({"data": {"val": 3}}, "unknown field 'data.val'; val_images"),
    "batch": ({"search": {"batch": 49}, "train": {"batch": 49}}, "batch of 49; 48 training images"),
}


@pytest.mark.parametrize("verb", ["find_ticket", "train", "compare"])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_fields_are_answered_by_name(verb, case, images, tmp_path):
    fields, expected = WRONG[case]
    given = {"net": build_net, "data": images, "recipe": RECIPE, "quiet": True, **fields}
    given |= {"runs": tmp_path} if verb == "compare" else {}
    with pytest.raises(InputError) as raised:
        getattr(robust_tickets, verb)(**given)
    for words in expected.split("; "):
        assert words in str(raised.value)
    assert not list(tmp_path.iterdir())


WRONG_JUDGED = {
    "a function": (lambda: robust_tickets.evaluate(build_net, made()), "net is a function; nn.Module itself"),
    "other classes": (
        lambda: robust_tickets.evaluate(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), made(), RECIPE),
        "gives (2, 4); (2, 3)",
    ),
    "other images": (lambda: robust_tickets.evaluate(nn.Linear(5, 3), made(), RECIPE), "fails on images"),
    "attack": (lambda: robust_tickets.evaluate(build_net(), made(), attacks=["fgms"]), "'fgms'; 'fgsm'"),
    "limit": (lambda: robust_tickets.evaluate(build_net(), made(), limit=31), "31; 30; fewer"),
    "limit below nought": (lambda: robust_tickets.evaluate(build_net(), made(), limit=-1), "limit; 0; -1"),
    "seeds": (
        lambda: robust_tickets.compare(build_net, made(), seeds=0),
        "seeds must be a whole number of at least 1, got 0",
    ),
    "ticket's name": (
        lambda: robust_tickets.train(build_net, made(), "ticket.safetensors", RECIPE),
        "ticket is a str; Ticket.load(path)",
    ),
}


@pytest.mark.parametrize("case", WRONG_JUDGED)
def test_wrong_arguments_are_answered(case):
    call, expected = WRONG_JUDGED[case]
    with pytest.raises(InputError) as raised:
        call()
    for words in expected.split("; "):
        assert words in str(raised.value)


def test_another_net_s_ticket_is_refused(images, ticket):
    with pytest.raises(InputError, match=r"ticket does not fit the net: it has nothing for 6\.weight"):
        robust_tickets.train(other_net, images, ticket, RECIPE, quiet=True)


def test_the_example_in_the_readme_runs(tmp_path, monkeypatch):
    """What it names without making it stands for the reader's own: a net, and images."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    _, found, section = readme.partition("\n## From Python\n")
    assert found
    (block, *_) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)  # one is enough, as for all tests
    (x_train, y_train), (x_test, y_test) = pair(400, 0), pair(30, 9)
    given = {
        "build_net": build_net,
        "x_train": x_train,
        "y_train": y_train,
        "x_test": x_test,
        "y_test": y_test,
    }
    exec(compile(block, "README.md", "exec"), given)
    assert {"find_ticket", "train", "evaluate"} <= set(re.findall(r"\w+", block))
