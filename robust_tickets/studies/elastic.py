"""Study elastic: is the ticket of a shallower network, stretched, as good as one's own? (Chen et al. 2021)"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Source, Study
from robust_tickets.studies.cells import (
    dense_arm,
    needs_training,
    trainings_that_pay,
    with_dense,
    with_pruning_method,
)

if TYPE_CHECKING:
    import pandas as pd

    from robust_tickets.recipe.fields import Evaluate
    from robust_tickets.recipe.recipe import Recipe
    from robust_tickets.stages.experiment import Experiment

_CONTROLS = ("stretched-reinit", "stretched-shuffle-copies", "ticket-snip", "random")
"""Arms that need no search of the target, or lack what is copied."""


def _cells(base: "Recipe", targets: tuple[str, ...]) -> Iterator[Cell]:
    """The recipe on each target, beside its own ticket on the target."""
    for target in targets:
        recipe = replace(base, model=replace(base.model, name=target))
        sources = [Source("stretched", base), Source("stretched-reinit", base)]
        arms: tuple[str, ...] = ("ticket",)
        if base.search.granularity == "weight":  # which channels are kept changes no network
            sources.append(Source("stretched-shuffle-copies", base))
            arms += ("random",)
        sources.append(Source("ticket-snip", with_pruning_method(recipe, "snip")))
        yield Cell(target, with_dense(recipe, arms), tuple(sources))


def _check_networks(experiment: "Experiment", cells: Sequence[Cell]) -> None:
    """Raise InputError for targets that are not deeper networks of the source's family."""
    from robust_tickets.tickets.elastic import map_blocks

    source = experiment.model_spec
    for cell in cells:
        try:
            block_map = map_blocks(source, replace(source, name=cell.setting), "append")
        except InputError as error:
            raise InputError(f"study elastic, setting {cell.setting}: {error}") from None
        if not any(len(set(stage)) < len(stage) for stage in block_map.numbers):
            raise InputError(
                f"study elastic, setting {cell.setting}: it has no more blocks than {source.name}, whose "
                "ticket is to be stretched: choose deeper networks by study.elastic, or another model.name"
            )


def _hypotheses(settings: Sequence[str], arms: Sequence[str]) -> list[Hypothesis]:
    dense = dense_arm(arms)
    others = [dense, *(arm for arm in _CONTROLS if arm in arms)]
    against = [
        Comparison(f"{target}, stretched minus {arm}", (target, "stretched"), (target, arm))
        for target in settings
        for arm in others
    ]
    own = [
        Comparison(f"{target}, stretched minus ticket", (target, "stretched"), (target, "ticket"))
        for target in settings
    ]
    return [
        Hypothesis("A stretched ticket has an early advantage over dense and every control", against),
        Hypothesis("Its early advantage is that of the target's own ticket", own, "same"),
        Hypothesis("A stretched ticket ends as high as the target's own", own, "same", "end"),
        Hypothesis("A stretched ticket ends higher than every control", against, "more", "end"),
    ]


def _remark(rows: "pd.DataFrame", evaluate: "Evaluate") -> str:
    """What the searches cost, and at how many targets one search that is stretched has paid for itself."""
    means = rows.groupby(["setting", "arm"], sort=False)[["flops", "search_flops"]].mean()
    lines = [
        "| target | search of its own ticket / dense | search that is stretched / dense | training of the "
        "stretched ticket / dense | pays against own searches at | pays against dense at |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for target in rows.setting.drop_duplicates():
        dense = means.flops[target, "dense"]
        own, source = (means.search_flops[target, arm] for arm in ("ticket", "stretched"))
        training = means.flops[target, "stretched"]
        shares = " | ".join(f"{cost / dense:.2f}" for cost in (own, source, training))
        lines.append(
            f"| {target} | {shares} | {trainings_that_pay(source, own, 'target')} | "
            f"{trainings_that_pay(source, dense - training, 'target')} |"
        )
    text = (
        "What the search costs in FLOPs, and the number of such targets at which one search that is "
        "stretched has cost no more than a search for each, and no more than training each dense on the "
        "full schedule:"
    )
    return "\n".join([text, "", *lines])


STUDY = Study(
    name="elastic",
    question="is the ticket of a shallower network, stretched, as good as a network's own?",
    help="deeper networks that the ticket of model.name is stretched to",
    setting_type=str,
    defaults=("resnet32", "resnet44"),
    cells=_cells,
    hypotheses=_hypotheses,
    figure="early",
    axis="network that the ticket is stretched to",
    varies="model.name",
    metavar="NETWORK...",
    pruning_methods=("snip",),
    needs=(needs_training,),
    check_networks=_check_networks,
    remark=_remark,
)
