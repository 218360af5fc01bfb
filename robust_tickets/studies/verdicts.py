"""The verdict of a study: its hypotheses, decided by its rows."""

from collections.abc import Iterator, Sequence

import pandas as pd

from robust_tickets.models.title import network_title
from robust_tickets.recipe.fields import Evaluate
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.boosting import aa_columns, end_columns, end_title
from robust_tickets.report.claims import MARGIN, Claim, Contrast, contrast
from robust_tickets.report.verdict import LEAST_SEEDS
from robust_tickets.studies.base import Comparison, Hypothesis, Place, Study
from robust_tickets.studies.chance import chance_paragraph


def decide(study: Study, settings: Sequence[str], rows: pd.DataFrame, evaluate: Evaluate) -> list[Claim]:
    """The claims of a study, with the contrasts that decide them.

    settings: their names in order; each has rows.
    rows: a row a setting, arm and seed, with the columns of `report.boosting`.
    evaluate: says which accuracies decide.
    """
    claims = []
    for hypothesis in study.hypotheses(settings, list(rows.arm.drop_duplicates())):
        if study.figure_of(hypothesis) == "early":
            claims.append(_claim(hypothesis, rows, f"early_{evaluate.select_by}"))
            continue
        for checkpoint, column in end_columns(evaluate).items():
            claims.append(_claim(hypothesis, rows, column, f", {checkpoint} epoch"))
    return claims


def _claim(hypothesis: Hypothesis, rows: pd.DataFrame, column: str, suffix: str = "") -> Claim:
    if hypothesis.kind == "same":
        suffix += f" (within {100 * MARGIN:g} point)"
    contrasts = (_contrast(comparison, hypothesis, rows, column) for comparison in hypothesis.comparisons)
    return Claim(f"{hypothesis.text}{suffix}", tuple(contrasts))


def _contrast(comparison: Comparison, hypothesis: Hypothesis, rows: pd.DataFrame, column: str) -> Contrast:
    """A contrast over the seeds that have a figure at every place."""
    places = (comparison.first, comparison.second, *(comparison.baseline or ()))
    columns = [_figures(rows, place, column) for place in places]
    figures = pd.concat(columns, axis=1, join="inner").dropna()
    first, second = figures.iloc[:, 0], figures.iloc[:, 1]
    if comparison.baseline:
        first, second = first - second, figures.iloc[:, 2] - figures.iloc[:, 3]
    return contrast(comparison.label, list(first), list(second), hypothesis.kind)


def _figures(rows: pd.DataFrame, place: Place, column: str) -> "pd.Series[float]":
    """The figure of each seed at a place."""
    setting, arm = place
    return rows[(rows.setting == setting) & (rows.arm == arm)].set_index("seed")[column]


def verdict_text(study: Study, base: Recipe, claims: Sequence[Claim], rows: pd.DataFrame) -> str:
    """The verdict as Markdown: what was compared, each claim with its figures, and how to read them."""
    paragraphs = map(str, claims) if claims else ["Not all settings are done yet: no verdict."]
    remark = study.remark(rows, base.evaluate) if claims else ""
    at_chance = chance_paragraph(rows, base.evaluate)
    explanation = " ".join(_explanation(study, base, claims, rows))
    parts = [_heading(study, base, rows), *paragraphs, *filter(None, (remark, at_chance)), explanation]
    return "\n\n".join(parts) + "\n"


def title_lines(study: Study, base: Recipe, claims: Sequence[Claim], rows: pd.DataFrame) -> list[str]:
    """The title of a study's figure: what was compared, the verdict on each claim, and what is drawn."""
    seeds = rows.seed.nunique()
    intervals = "lines: 95 % intervals" if seeds >= LEAST_SEEDS else f"no intervals below {LEAST_SEEDS} seeds"
    return [
        _heading(study, base, rows).strip("*"),
        *(f"{claim.text}: {claim.status}" for claim in claims),
        f"points: seeds; marks: means; {intervals}",
    ]


def _heading(study: Study, base: Recipe, rows: pd.DataFrame) -> str:
    model, threat = base.model, base.threat
    network = network_title(model.name, model.width)
    seeds = ", ".join(map(str, sorted(set(rows.seed))))
    return (
        f"**Study {study.name}: {rows.data.iloc[0]}, {network}, {threat.norm} {threat.eps}, recipe "
        f"{base.name}, seeds {seeds}**"
    )


def _explanation(study: Study, base: Recipe, claims: Sequence[Claim], rows: pd.DataFrame) -> Iterator[str]:
    """The sentences on how to read the figures and the verdicts."""
    settings, arms = (list(rows[column].drop_duplicates()) for column in ("setting", "arm"))
    figures = {study.figure}
    if claims:
        figures = {study.figure_of(hypothesis) for hypothesis in study.hypotheses(settings, arms)}
    early = base.evaluate.early_epochs
    if "early" in figures:
        yield (
            f"{'Early advantages' if len(figures) > 1 else 'Figures'} are the mean height of the "
            f"{base.evaluate.select_by} validation accuracy over the first {early} epoch{'s' * (early != 1)}."
        )
    if "end" in figures:
        subject = "Ends" if len(figures) > 1 else "Figures"
        under = ""
        if aa_columns(base.evaluate) and base.evaluate.select_by == "robust":
            images = f"{base.evaluate.aa_images:,} test images"
            under = f" under {end_title(base.evaluate)} on {images}"
        several = len(end_columns(base.evaluate)) > 1
        best = ", and beside it of the best, which validation chose" if several else ""
        yield f"{subject} are test accuracies{under} of the last epoch{best}."
    yield (
        "Arms of a seed share init and batches; intervals are Student's t over such pairs, of seeds in which "
        f"both are done. With {LEAST_SEEDS} seeds or more a claim holds where the interval excludes zero on "
        "the claimed side, and does not hold where it excludes zero on the other; else it is undecided."
    )
    if any(contrast.kind == "same" for claim in claims for contrast in claim.contrasts):
        yield (
            "A claim of no difference holds where the interval lies within the margin, and does not hold "
            "where it lies beyond it."
        )
