"""What the experiments of docs/experiments.md answer, for the page of claims."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.experiment_contrasts import figures_of, judged_contrasts
from benchmarks.experiments import Experiment, parts_of
from benchmarks.figure_checks import doubtful_rows, figure_lines
from robust_tickets.report.contrasts import judged_contrasts as contrasts_of_run
from robust_tickets.report.corrected import Tested
from robust_tickets.report.read import results
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.studies.study_files import StudyFolder


def experiment_lines(name: str) -> Iterator[str]:
    """What came of an experiment's contrasts, once all of its seeds have run; else how many have.

    name: of its folder.
    """
    parts = parts_of(name, Path(), ())
    whole, left = _seeds(parts)
    if left:
        of_parts = f" of its {len(parts)} parts" if len(parts) > 1 else ""
        yield (
            f"*not finished*: {whole - left} of {whole} seeds{of_parts} have run. Nothing is judged before "
            "all have."
        )
        return
    doubtful = {arm: why for part in parts for arm, why in doubtful_rows(part).items()}
    if doubtful:
        names = "; ".join(f"`{arm}` ({why})" for arm, why in doubtful.items())
        yield f"**Not to be believed: {names}. Contrasts with it count as undecided.**"
    for part in parts:
        if part.study:
            folder = StudyFolder.open(part.folder / "study")
            yield from folder.study.remark(folder.read_rows(), folder.base.evaluate).split("\n\n")
    tested = _tested(parts)
    if len(tested) > 1:
        yield f"P-values are corrected for {len(tested)} (Holm)."
    yield from (f"{each}." for each in tested)


def lines_on_figures(names: Sequence[str]) -> Iterator[str]:
    """What the checks of the figures of experiments found, of those whose seeds have run."""
    for name in names:
        parts = parts_of(name, Path(), ())
        if _seeds(parts)[1]:
            yield f"`{name}`: *not finished*."
            continue
        for part in parts:
            title = f"`{name}`, `{part.part}`" if part.part else f"`{name}`"
            yield f"{title}: {' '.join(figure_lines(part))}"


def _seeds(parts: list[Experiment]) -> tuple[int, int]:
    """How many seeds an experiment has over its parts, and how many of them have not run."""
    whole = sum(len(part.seeds) for part in parts)
    return whole, sum(piece.startswith("seed") for part in parts for piece in part.pieces())


def _tested(parts: list[Experiment]) -> list[Tested]:
    """The contrasts of the plan, or those that the recipe of the only part names."""
    first = parts[0]
    if "contrasts" in first.plan:
        contrasts = first.plan["contrasts"]
        return judged_contrasts(figures_of(first.root, contrasts), contrasts)
    if first.study:
        return []
    run = RunDirectory.open(first.run)
    return contrasts_of_run(results(run), run.recipe)
