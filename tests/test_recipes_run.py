"""Every shipped recipe runs: search, pruning, training and estimate.

Large networks are narrow in the fast tests, but for the estimate, which asks no weights.
"""

import math
import re

import pytest
import torch
from training_case import noise_split

import robust_tickets
from robust_tickets.cli.main import main
from robust_tickets.comparison import estimate as estimation
from robust_tickets.data.dataset import SPECS, Dataset
from robust_tickets.models import registry
from robust_tickets.pruning.criteria import prune_round
from robust_tickets.pruning.layers import layer_roles
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.training_fields import Training
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.specs import model_spec
from robust_tickets.tickets.compact_net import compact_net

pytestmark = [
    # a network predicts one class after a step or two
    pytest.mark.filterwarnings("ignore:.*the net collapsed"),
    pytest.mark.filterwarnings("ignore:.*has no instructions for bfloat16"),
]

STEPS, BATCH = 3, 2
FACTOR = {"paper-wrn34-10": 0.1, "frankle-vgg19": 0.125} | dict.fromkeys(
    (
        "paper-vgg16",
        "paper-text-vgg16",
        "paper-resnet18",
        "strong-resnet18",
        "rivals-resnet18",
        "cifar10-cpu",
    ),
    0.25,
)
"""Factors on the widths of large networks."""


def cheap(training: Training) -> dict[str, object]:
    """One step of PGD, if that is the method, and as few images as BatchNorm needs."""
    return (
        {"batch": BATCH, "warmup": 0.0, "warmup_lr": 0.0}
        | ({"pgd": {"steps": 1}} if training.method == "pgd" else {})
        | ({"milestones": training.milestones} if training.schedule == "step" else {})
        # its first step has a rate of 0 without a warm-up
        | ({"schedule": "constant"} if training.schedule == "one-cycle" else {})
    )


@pytest.mark.parametrize(
    ("name", "factor"),
    [(name, FACTOR.get(name, 1)) for name in recipes.shipped_names()]
    + [pytest.param(name, 1, marks=pytest.mark.slow) for name in FACTOR],
)
def test_a_recipe_searches_prunes_and_trains_from_its_ticket(name, factor):
    whole = recipes.load(name)
    spec = SPECS[whole.data.name]
    images = Dataset(spec, spec.title, *(noise_split(n, spec) for n in (STEPS * BATCH, 2, 2)), "0" * 16)
    own = {
        "recipe": name,
        "model": {"width": factor * whole.model.width},
        "compute": {"threads": 1},
        "evaluate": {"val_steps": 1, "images": 0},
    }
    search = cheap(whole.search) | {"iterations": STEPS, "rounds": 1, "images": 0, "stop_distance": 0.0}
    ticket = robust_tickets.find_ticket(data=images, search=search, **own)
    assert (ticket.model.name, ticket.model.dropout) == (whole.model.name, whole.model.dropout)
    assert ticket.model.shape == spec.shape
    assert 0 < ticket.mask.count < ticket.mask.size

    curriculum = {"curriculum": {"share": 0.5}} if whole.train.curriculum.share else {}
    length = 2 if curriculum else 1  # a step of each of its parts
    training = cheap(whole.train) | {"iterations": length, "ticket_iterations": length} | curriculum
    trained = robust_tickets.train(data=images, ticket=ticket, train=training, **own)
    assert math.isfinite(trained.history.train_loss.item())
    # dead channels are not trained
    plan = compact_net(registry.build(ticket.model, seed=0), ticket.mask, spec.shape).plan
    state, mask, init = trained.last, plan.narrow(ticket.mask), plan.narrow(ticket.init)
    assert all(not state[weight][~entries].any() for weight, entries in mask.items())
    assert all((state[weight] != init[weight])[entries].any() for weight, entries in mask.items())


# the sanity checks of a network on 100 images: two calls, one under noise, one with its gradient, PGD-20 at
# four eps, FGSM, PGD-20 from three starts, and 200 queries
CHECKS = 100 * (2 + 1 + 2 + 4 * 41 + 3 + 3 * 41 + 200)

# name -> epochs and passes, by hand from the numbers of the TOML. 49,000 images make 382 batches of 128;
# natural, FGSM and PGD-10 training take 2, 4 and 22 passes a sample, which cost 3, 5 and 23 forward passes
BY_HAND = {
    "dense": ("100", 100 * 382 * 128 * 22),
    "dense-short": ("40", 40 * 382 * 128 * 22),
    "dense-equal-cost": ("62", 62 * 382 * 128 * 22),  # (100 * 5 + 40 * 23) / 23 = 61.7
    "dense-search-lr": ("100", 100 * 382 * 128 * 22),
    "search": ("100", 100 * 382 * 128 * 4),
    "ticket": ("40", 40 * 382 * 128 * 22),
    # after 442 epochs, and four times in the first of each arm, 1,000 images: clean, for the loss, and
    # PGD-10 with its last call; after the search's 100 FGSM with one; two networks an arm on 10,000:
    # clean, FGSM with its last call, and PGD-20 with one
    "validation and evaluation, at most": (
        "",
        (442 + 5 * 4) * 1000 * (1 + 1 + 21) + 100 * 1000 * 3 + 5 * 2 * (10_000 * (1 + 3 + 41) + CHECKS),
    ),
}


TIMED = (
    "robust_tickets.comparison.estimated_rates.training_pass_seconds",
    "robust_tickets.comparison.estimate.evaluation_pass_seconds",
)
"""What a dry run times."""


@pytest.mark.parametrize("name", recipes.shipped_names())
def test_a_dry_run_lists_what_a_recipe_takes(name, monkeypatch, tmp_path, capsys):
    for timed in TIMED:
        monkeypatch.setattr(timed, lambda *arguments: 1e-6)
    main(["compare", "--recipe", name, "--dry-run", "--runs", str(tmp_path), "--compute.threads", "1"])
    lines = capsys.readouterr().out.splitlines()
    lines = [line for line in lines if not line.startswith("WARNING")]  # the machine may be busy
    last = lines.index("all seeds, on this machine:")
    pattern = re.compile(r"\s*(\S.*?)\s+([\d.]*)\s+(\d+)\s+[\d,.]+ [GTP]\s+[\d.]+")
    rows = {match[1]: (match[2], int(match[3])) for match in map(pattern.fullmatch, lines[1:last])}
    trained = recipes.load(name).compare.trained
    first_ticket = next((arm for arm in trained if arm.partition("+")[0] == "ticket"), "")
    before = {first_ticket: ["search"], "dense-staged": ["dense-staged-first"]}
    arms = [row for arm in trained for row in (*before.get(arm, []), arm)]
    assert list(rows) == [*arms, "validation and evaluation, at most"]
    times = [r"  about {} of search and training", r"  at most {} of validation and evaluation: .*"]
    times += [r"  at most {} more for each arm on the frontier .*"] * (
        recipes.load(name).evaluate.aa_images > 0
    )
    times.append(r"on 2, 8, 64 such machines: at most {}, {}, {} \(the longest chain: {}\)")
    for line, text in zip(lines[last + 1 :], times, strict=True):
        assert re.fullmatch(text.replace("{}", r"[\d,.]+ (seconds|minutes|hours|days)"), line), line
    assert not list(tmp_path.iterdir())
    if name == "paper-resnet18":
        assert rows == BY_HAND


def test_flops_and_seconds_of_a_dry_run_are_passes_at_their_cost(monkeypatch):
    for timed in TIMED:
        monkeypatch.setattr(timed, lambda *arguments: 1e-6)
    rows = estimation.estimate(Experiment(recipes.load("frankle-lenet")), 1).rows.set_index("arm")
    forward = 2 * 266_200  # LeNet-300-100's weights, a multiply and an add each
    # 50,000 steps of 60 images, seven rounds of them
    assert rows.flops["search"] == 7 * 50_000 * 60 * 3 * forward
    assert rows.flops["dense"] == rows.flops["ticket"] == 50_000 * 60 * 3 * forward
    assert rows.estimated_seconds["search"] == 7 * 50_000 * 60 * 3 / 1e6


FRANKLE = {name for name in recipes.shipped_names() if name.startswith("frankle-")}
SMALL = {"frankle-lenet", "frankle-resnet20", "frankle-conv6"}


@pytest.mark.parametrize(
    "name", [*sorted(SMALL), *(pytest.param(n, marks=pytest.mark.slow) for n in sorted(FRANKLE - SMALL))]
)
def test_rounds_leave_the_share_of_weights_that_the_summary_names(name):
    """By the rule of each round alone: the number of weights does not depend on which ones are pruned."""
    recipe = recipes.load(name)
    spec = SPECS[recipe.data.name]
    net = registry.build(model_spec(recipe, spec), seed=0)
    layers, mask = layer_roles(net, spec.shape), Mask.full(net)
    for _ in range(recipe.search.rounds):
        scores = {name: torch.rand(bits.shape) for name, bits in mask.items()}
        mask = prune_round(recipe.search, scores, mask, layers)
    share = float(re.search(r"([\d.]+) % of the weights left", recipe.summary)[1])
    assert round(100 * mask.density, 1) == share
