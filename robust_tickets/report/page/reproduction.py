"""How to get a run again: the command, the recipe, the machine, and where its files are."""

import json
from itertools import groupby
from typing import Any

from robust_tickets.report.page.markup import element, escape, join, listing, prose
from robust_tickets.report.page.table import table
from robust_tickets.report.pictures.all_pictures import PICTURES
from robust_tickets.report.read import complete_seeds
from robust_tickets.runs import files
from robust_tickets.runs.directory import RunDirectory

_EMBEDDED = "digits"
_OF_PYTHON = "own"


def recipe_section(run: RunDirectory) -> str:
    """The resolved recipe, folded."""
    text = files.read_bytes(run.recipe_file).decode("utf-8-sig")
    summary = element("summary", f"recipe.toml, {len(text.splitlines())} lines")
    return element("details", summary + element("pre", element("code", escape(text)), tabindex="0"))


def environment_section(run: RunDirectory) -> str:
    """The machines, and the fingerprints of what was put in."""
    machines = run.machines()
    keys = list(dict.fromkeys(key for machine in machines for key in machine))
    titles = [
        "what",
        *(f"machine {n}" if len(machines) > 1 else "value" for n in range(1, len(machines) + 1)),
    ]
    rows = [[key, *(_value(machine.get(key)) for machine in machines)] for key in keys]
    inputs = [[name, digest] for name, digest in run.inputs().items()]
    parts = [table(titles, rows, "The machine, as env.json has it", sortable=False)]
    if inputs:
        parts.append(table(["input", "fingerprint"], inputs, "Fingerprints of the inputs", sortable=False))
    return join(parts)


def command_section(run: RunDirectory) -> str:
    """The commands that run it again, and what they need."""
    data = run.recipe.data.name
    if data == _OF_PYTHON:
        return element(
            "p",
            prose(
                "Its images were passed in Python: call `robust_tickets.compare` with the same network, "
                "images and settings."
            ),
        )
    root = "" if data == _EMBEDDED else " --data.root DIR"
    device = (run.machines() or [{}])[0].get("device", "cpu")
    on = "" if device == "cpu" else f" --device {device}"
    lines = [
        f"robust-tickets compare --recipe recipe.toml{root} --seed {first} --seeds {n}{on}"
        for first, n in _stretches(complete_seeds(run))
    ]
    needs = "`recipe.toml` is the file above, which lies in the run directory."
    if root:
        needs += f" `DIR` holds the images of {data}."
        images = run.inputs().get("images")
        needs += f" Theirs must be the fingerprint {images}." if images else ""
    needs += " On the same machine, with the same versions and threads, accuracies are the same bit for bit."
    return element("pre", element("code", escape("\n".join(lines))), tabindex="0") + element(
        "p", prose(needs)
    )


def files_section(run: RunDirectory) -> str:
    """The files of the run directory that the page was made from."""
    pictures = [f"{picture.name}.svg" for picture in PICTURES if not picture.missing(run)]
    first = f"seed-{complete_seeds(run)[0]}/{run.recipe.compare.trained[0]}"
    items = (
        ("timing.csv, timing.md", "the table"),
        ("frontier.csv, frontier.md", "the frontier"),
        ("boosting.csv, boosting.md", "the early advantage"),
        *([("contrasts.csv", "the contrasts of the recipe")] if run.contrasts_csv.is_file() else []),
        (", ".join(pictures), "the pictures"),
        (f"{first}/", "an arm of a seed: arm.json, ledger.json, metrics.jsonl, robustness.csv, checkpoints"),
        ("recipe.toml, env.json, inputs.json", "recipe, machine, fingerprints"),
    )
    return listing(f"{element('code', escape(name))}: {escape(text)}" for name, text in items)


def _stretches(seeds: list[int]) -> list[tuple[int, int]]:
    """Runs of seeds that follow each other: the first of each, and how many."""
    parts = groupby(enumerate(seeds), key=lambda pair: pair[1] - pair[0])
    stretches = [[seed for _, seed in part] for _, part in parts]
    return [(part[0], len(part)) for part in stretches]


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
