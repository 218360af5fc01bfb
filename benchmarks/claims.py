"""Renders docs/claims.md: what papers claim, and the verdicts of the runs that are committed here.

    python -m benchmarks.claims

Reads runs/reference/claims.toml and the studies that it names. Verdicts are made from the rows of a study as
`robust-tickets table` makes them. What was not run has the FLOPs of its recipe, by arithmetic.
"""

import argparse
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.experiment_claims import experiment_lines, lines_on_figures
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.comparison.arm_summary import arm_weight
from robust_tickets.comparison.estimated_rates import whole_flops
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arms import ARMS, needs_ticket
from robust_tickets.report.claims import Claim, Contrast, points
from robust_tickets.runs.files import read_json, write_text
from robust_tickets.stages import costs
from robust_tickets.stages.experiment import Experiment
from robust_tickets.studies.chance import chance_paragraph
from robust_tickets.studies.study_files import StudyFolder

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "runs" / "reference"
PAGE = ROOT / "docs" / "claims.md"

TITLE = "# Claims"
INTRODUCTION = (
    "What papers claim of tickets, and what the runs of this project say to it. `make claims` renders "
    "this page from [`runs/reference`](../runs/reference); only the sentences of the claims, and what "
    "was not tested of them, are written by hand. A verdict rests on 95 % intervals over paired "
    "seeds: with three seeds or more a contrast *holds* where its interval excludes zero on the "
    "claimed side, and *does not hold* where it excludes zero on the other; else it is *undecided*. A "
    "verdict with several contrasts holds where all do, and does not hold where one does not. One "
    '"within 1 point" holds where the interval lies inside one point either way, and does not hold '
    "where it lies outside, be that better or worse. The intervals of a study are not corrected for "
    "how many there are. An *early advantage* is that of the mean height of the validation curve over "
    "the first two epochs. Networks and data are small: a verdict is on the claim at this size. "
    "Figures are points of accuracy. The [experiments](experiments.md) of this project, at the end, are "
    "judged by their own rule: a contrast is shown where its p-value, corrected for all of its family, is "
    "below 0.05."
)


def page() -> str:
    """The whole page."""
    claims = tomllib.loads((REFERENCE / "claims.toml").read_text(encoding="utf-8"))
    parts = [TITLE, _wrapped(INTRODUCTION)]
    for paper in claims["paper"]:
        parts.append(f"## {paper['name']}")
        parts += [_section(claim) for claim in paper["claim"]]
    return "\n\n".join(parts) + "\n"


def _section(claim: dict[str, Any]) -> str:
    """The claim, its verdicts as a list, and the command."""
    if "experiment" in claim:
        lines = experiment_lines(claim["experiment"])
    elif "figures" in claim:
        lines = lines_on_figures(claim["figures"])
    else:
        lines = _of_study(claim) if "study" in claim else _of_recipe(claim)
    items = [_wrapped(f"- {line}", indent="  ") for line in (*lines, f"`{claim['command']}`")]
    return "\n".join([_wrapped(f"**{claim['text']}**"), "", *items])


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _of_study(claim: dict[str, Any]) -> Iterator[str]:
    """The verdicts of a study, with the contrasts that they rest on, and what it cost."""
    folder = StudyFolder.open(REFERENCE / "studies" / claim["study"])
    rows = folder.read_rows()
    for verdict in folder.result(rows).claims:
        if not any(verdict.text.startswith(begin) for begin in claim.get("verdicts", [""])):
            continue
        names = claim.get("contrasts")
        contrasts = tuple(c for c in verdict.contrasts if names is None or c.label in names)
        text = "" if names else f"{verdict.text}: "
        yield f"*{Claim(text, contrasts).status}*: {text}{'; '.join(map(_figures, contrasts))}."
    at_chance = chance_paragraph(rows, folder.base.evaluate)
    if at_chance:
        yield at_chance.replace("**", "*")
    if "untested" in claim:
        yield f"Not tested: {claim['untested']}."
    seeds = rows.seed.nunique()
    # a training that several settings share has a row in each, alike in all that was measured
    trainings = rows[~rows.arm.isin([arm for arm in ARMS if ARMS[arm].best_epoch_of])]
    trainings = trainings.drop(columns=["setting", "run", "early_stop_step"]).drop_duplicates()
    flops = trainings.flops.sum() / seeds
    file = f"../runs/reference/studies/{claim['study']}/{folder.verdict_file.name}"
    yield (
        f"{seeds} seed{'s' * (seeds != 1)}, {_flops(flops)} of training each, without searches: "
        f"[all figures]({file})."
    )


def _figures(contrast: Contrast) -> str:
    """A contrast's mean and interval."""
    mean = sum(contrast.differences) / len(contrast.differences)
    text = f"{contrast.label} {points(mean)}"
    if contrast.interval is None:
        return text
    low, high = contrast.interval
    return f"{text} ({points(low)} to {points(high)})"


def _of_recipe(claim: dict[str, Any]) -> Iterator[str]:
    """What a comparison that was not run would take."""
    recipe = recipes.load(claim["recipe"])
    experiment = Experiment(recipe, machine=Machine("cpu", SilentProgress()))
    arms = recipe.compare.trained
    passes = sum(arm_weight(experiment, arm) for arm in arms)
    if any(needs_ticket(arm, recipe) for arm in arms):
        passes += costs.search_cost(recipe, experiment.spec)
    flops = passes * whole_flops(experiment)
    scale, time = read_json(REFERENCE / "bench" / "scale" / "scale.json"), ""
    if claim["recipe"] == scale["recipe"]:  # the one network whose rate was measured
        days = flops / scale["rates"]["this machine"] / 86400
        table = "[table](../runs/reference/bench/scale/scale.md)"
        time = f", about {days:,.0f} days of two CPU cores without AVX-512 ({table})"
    yield (
        f"*not run*: a seed of `{claim['recipe']}` is {_flops(flops)} of search and training{time}. It needs "
        f"{claim['needs']}; with `--dry-run` the command says how long it takes on your machine."
    )


def _flops(number: float) -> str:
    for unit, size in (("EFLOP", 1e18), ("PFLOP", 1e15)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number / 1e12:.3g} TFLOP"


def main() -> None:
    """Write the page, or with --check say whether it is the one that is committed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare with the page, and write nothing")
    text = page()
    if parser.parse_args().check:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
            raise SystemExit(
                f"{PAGE} is not what runs/reference gives: run `make claims`; its sentences are in "
                f"{REFERENCE / 'claims.toml'}"
            )
        return
    write_text(PAGE, text)
    print(PAGE)


if __name__ == "__main__":
    main()
