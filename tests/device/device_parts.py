"""The work that is done on both devices: each part takes a device and leaves files in a folder."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from device_attacks import ATTACKS, STEPS, attack
from device_case import RECIPE, Net, Part, experiment, train
from device_mistakes import MISTAKES
from safetensors.torch import load_file, save_file

from robust_tickets import api
from robust_tickets.attacks.text import BUILDERS, parse
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.comparison.compare import compare
from robust_tickets.comparison.estimate import estimate
from robust_tickets.data.batches import to_float
from robust_tickets.recipe.arms import controls
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Compare, Model
from robust_tickets.recipe.methods import METHODS
from robust_tickets.recipe.pruning_methods import PRUNING_METHODS
from robust_tickets.recipe.recipe import to_table
from robust_tickets.stages.evaluate import evaluate_file
from robust_tickets.stages.evaluation_request import EvaluationRequest
from robust_tickets.stages.search import find_ticket
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.export import export
from robust_tickets.training.wrappers.awp import AWPSettings
from robust_tickets.training.wrappers.curriculum import CurriculumSettings

QUICKLY = replace(RECIPE.evaluate, sanity="off")
"""Without the sanity checks, which `compare` and the attacks make."""


def search(device: str, folder: Path, pruning_method: str) -> None:
    """A search by one pruning method: of two rounds with rewinding where it trains."""
    settings = {} if pruning_method == "imp" else {"rounds": 1, "rewind_iterations": 0}
    changed = replace(RECIPE.search, pruning_method=pruning_method, **settings)
    ticket, _ = find_ticket(experiment(device, replace(RECIPE, search=changed)), 0)
    ticket.save(folder / "ticket.safetensors")


def search_and_compare(device: str, folder: Path) -> None:
    """A search of two rounds with rewinding, and two arms with their evaluations."""
    compare(experiment(device), [0], folder)


def search_channels(device: str, folder: Path) -> None:
    """A search of channels that goes on from its weights, its ticket trained as a narrower network."""
    search = replace(RECIPE.search, granularity="channel", after="lr-rewind", rewind_iterations=0, ratio=0.3)
    recipe = replace(RECIPE, model=Model("resnet14", width=0.5), search=search, evaluate=QUICKLY)
    compare(experiment(device, recipe, None), [0], folder)


def compare_controls(device: str, folder: Path) -> None:
    """The controls of a ticket."""
    arms = Compare(arms=controls())
    recipe = replace(RECIPE, model=Model("lenet-300-100", width=0.05), compare=arms, evaluate=QUICKLY)
    compare(experiment(device, recipe, None), [0], folder)


SETTINGS = {
    "pgd": "(steps=3)",
    "apgd": "(steps=3)",
    "apgd-t": "(steps=2)",
    "square": "(queries=12)",
    "fab-t": "(steps=2)",
}
"""Settings that make an attack short; one without is run as it is."""


def evaluate(device: str, folder: Path, names: tuple[str, ...], norm: str, eps: str) -> None:
    """Evaluate a network by attacks, with the sanity checks."""
    train("cpu", folder, "natural", steps=30)
    file = _checkpoint(folder)
    request = EvaluationRequest(names, limit=12, eps=(Eps(eps),), norm=norm, save_images=folder / "images")
    evaluate_file(file, Machine(device, SilentProgress()), request, make=Net)


def plan(device: str, folder: Path) -> None:
    """The estimate of a comparison, which times steps on the device."""
    rows = estimate(experiment(device), 1).rows
    rows.rename(columns={"estimated_seconds": "seconds"}).to_csv(folder / "rows.csv")


def write_exports(device: str, folder: Path) -> None:
    """Train on the device, and write the network in two formats, each checked against the original."""
    train(device, folder, "natural")
    file = _checkpoint(folder)
    for form in ("torch", "safetensors"):
        export(file, form, make=Net)


def _checkpoint(folder: Path) -> Path:
    """A checkpoint of the network that was trained in the folder."""
    work = experiment("cpu")
    state, file = load_file(folder / "last.safetensors"), folder / "checkpoint" / "best.safetensors"
    file.parent.mkdir()
    table, fingerprint = to_table(RECIPE), work.load().fingerprint
    Checkpoint(state, work.model_spec, table, fingerprint, "dense", 0, 1, 0.1, 0.1).save(file)
    return file


def from_python(device: str, folder: Path) -> None:
    """A user's own network and images, which lie on the device already."""
    pixels, labels = (
        torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        torch.arange(60) % 10,
    )
    split = pixels.to(device), labels.to(device)
    images = api.images(train=split, test=split, val_images=20)
    net = experiment(device).fresh_net(0)
    sections = {"compute": {"threads": 1}, "evaluate": {"val_steps": 1, "batch": 10}, "device": device}
    settings = {"method": "fgsm", "batch": 16}
    ticket = api.find_ticket(net, images, search={"epochs": 1, "ratio": 0.5, **settings}, **sections)
    ticket.save(folder / "ticket.safetensors")
    trained = api.train(net, images, ticket, train={"ticket_epochs": 1, **settings}, **sections)
    save_file(trained.last, folder / "last.safetensors")
    rows = api.evaluate(net, images, attacks="fgsm", limit=10, **sections)
    rows.to_csv(folder / "rows.csv")


def quick_attack(device: str, folder: Path) -> None:
    """Two of our attacks and one of torchattacks, and nothing else."""
    work = experiment(device)
    work.prepare()
    net, split = work.fresh_net(0).eval(), work.load().test
    images, labels = to_float(split.images[:8], channels_last=True), split.labels[:8]
    for name in ("pgd(steps=3, restarts=2)", "square(queries=5)", "torchattacks:CW(steps=2)"):
        result = parse(name, work.threat).run(net, images, labels, seed=0)
        assert result.broken is not None
        tensors = {"images": result.images.cpu().contiguous(), "broken": result.broken.cpu()}
        save_file(tensors, folder / f"{name.partition('(')[0].replace(':', '-')}.safetensors")


WRAPPERS = {"awp": AWPSettings(gamma=0.01), "curriculum": CurriculumSettings(0.5, steps=2)}
"""Wrappers with settings that turn them on."""

AVERAGE = {"average": 0.9, "average_batches": 2}

OURS = tuple(
    name + SETTINGS.get(name, "") for name in BUILDERS if name not in ("fgsm", "aa-apgd", "autoattack")
)
THEIRS = ("torchattacks:PGD(steps=2)", "torchattacks:CW(steps=2)")


PARTS: dict[str, Part] = {
    **{
        f"{name} {length} {'stop' if stop else 'go on'}": partial(attack, text=text.format(steps), stop=stop)
        for name, text in ATTACKS.items()
        for length, steps in STEPS.items()
        for stop in (True, False)
    },
    **{
        f"planted {length}": partial(attack, text=ATTACKS["pgd"].format(steps), stop=False, planted=True)
        for length, steps in STEPS.items()
    },
    **{f"train-{name}": partial(train, method=name) for name in METHODS},
    **{
        f"train-{name}": partial(train, method="pgi", wrappers={name: settings})
        for name, settings in WRAPPERS.items()
    },
    "train-bf16": partial(train, method="pgd", precision="bf16"),
    "train-averaged": partial(train, method="fgsm", wrappers=AVERAGE),
    "train-averaged-resumed": partial(train, method="fgsm", wrappers=AVERAGE, resumed=True),
    "train-watched": partial(train, method="fgsm", wrappers={"overfitting": "pgd"}),
    "train-L2": partial(train, method="pgd", norm="L2"),
    "train-adam": partial(train, method="fgsm", optimiser="adam"),
    "train-muon": partial(train, method="fgsm", optimiser="muon"),
    "train-resumed": partial(train, method="pgd", resumed=True),
    **{f"mistake: {name}": part for name, part in MISTAKES.items()},
    **{f"search-{name}": partial(search, pruning_method=name) for name in PRUNING_METHODS},
    "quick-attack": quick_attack,
    "compare": search_and_compare,
    "channels": search_channels,
    "from-python": from_python,
    "controls": compare_controls,
    # so small that some images withstand all attacks
    "attacks-Linf": partial(evaluate, names=(*OURS, *THEIRS), norm="Linf", eps="0.01"),
    "attacks-L2": partial(evaluate, names=OURS, norm="L2", eps="0.1"),
    "ensemble": partial(evaluate, names=("autoattack",), norm="Linf", eps="0.3"),
    "export": write_exports,
    "plan": plan,
}
