"""Study recursive: does growth restore what pruning takes? (Zhang 2021)"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from robust_tickets.base.errors import InputError
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Source, Study
from robust_tickets.studies.cells import needs_training, with_dense, with_pruning_method

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe
    from robust_tickets.stages.experiment import Experiment

_NETWORKS = ("resnet20", "resnet14 resnet20")
_ARMS = ("ticket", "dense-equal-cost", "reinit-equal-cost")


def _cells(base: "Recipe", chains: tuple[str, ...]) -> Iterator[Cell]:
    """Growth from some networks to that of the recipe, beside growth without a half, and other searches."""
    for networks in chains:
        own = _growing(base, networks)
        recipe = with_dense(own, _ARMS)
        sources = [
            Source("grown-reset", _with(own, reset=True)),
            Source("grown-unpruned", _with(own, prune=False)),
            Source("imp-reset", _imp(base, own, "rewind")),
            Source("imp-continue", _imp(base, own, "lr-rewind")),
        ]
        yield Cell(networks, recipe, tuple(sources))


def _growing(base: "Recipe", networks: str) -> "Recipe":
    """The recipe with a search that grows from these networks.

    A search of another method gives the share of the weights that are gone in the end, were none new.
    """
    if base.search.pruning_method == "recursive":
        return _with(base, networks=networks)
    linear = {"insert": "identity-linear"} if base.model.name.startswith("mlp-") else {}
    recipe = _with(with_pruning_method(base, "recursive"), networks=networks, **linear)
    rounds = len(networks.split()) + 1
    ratio = 1 - (1 - recipe.search.ratio) ** (1 / rounds)
    return replace(recipe, search=replace(recipe.search, ratio=ratio))


def _with(base: "Recipe", **settings: Any) -> "Recipe":
    """The recipe with other settings of its growth; without pruning, the ratio does nothing."""
    search = base.search
    own = replace(vars(search)["recursive"], **settings)
    ratio = search.ratio if own.prune else type(search)().ratio
    return replace(base, search=replace(search, ratio=ratio, **{"recursive": own}))


def _imp(base: "Recipe", own: "Recipe", after: str) -> "Recipe":
    """As many rounds of iterative magnitude pruning, each as long as makes the FLOPs those of the growth."""
    from robust_tickets.base.progress import SilentProgress
    from robust_tickets.stages.costs import round_shares, search_plan
    from robust_tickets.stages.specs import data_spec

    spec = data_spec(own.data, SilentProgress())
    plan, shares = search_plan(own, spec), round_shares(own, spec)
    fields: dict[str, Any] = {"recursive": vars(base.search)["recursive"], "after": after}
    search = replace(
        own.search,
        pruning_method="imp",
        rounds=plan.rounds,
        iterations=max(1, round(plan.round_steps * sum(shares) / plan.rounds)),
        **fields,
    )
    return replace(own, search=search)


def _needs_weights(base: "Recipe") -> str:
    if base.search.granularity == "weight":
        return ""
    return "growth prunes single weights: use a recipe with search.granularity weight"


def _check_networks(experiment: "Experiment", cells: Sequence[Cell]) -> None:
    """Raise InputError where the study's own networks are no part of the recipe's."""
    name = experiment.recipe.model.name
    if tuple(cell.setting for cell in cells) == _NETWORKS and not name.startswith("resnet"):
        raise InputError(
            f"study recursive: {' and '.join(_NETWORKS)}, its default, do not grow into {name}: name "
            'networks that do by study.recursive, such as "mlp-1 mlp-2" for mlp-3'
        )


def _hypotheses(settings: Sequence[str], arms: Sequence[str]) -> list[Hypothesis]:
    def against(other: str) -> list[Comparison]:
        return [
            Comparison(f"{networks}, ticket minus {other}", (networks, "ticket"), (networks, other))
            for networks in settings
        ]

    texts = {
        "imp-reset": "Growth ends above pruning with rewinding at equal FLOPs",
        "imp-continue": "Growth ends above pruning that goes on at equal FLOPs",
        "grown-unpruned": "Growth ends above growth without pruning",
        "grown-reset": "Growth ends above growth with reset",
        "dense-equal-cost": "Growth ends above the whole network at equal FLOPs",
        "reinit-equal-cost": "Growth ends above its own mask from a new init at equal FLOPs",
    }
    return [Hypothesis(text, against(arm)) for arm, text in texts.items() if arm in arms]


STUDY = Study(
    name="recursive",
    question="does growing a pruned network do better than resetting it?",
    help="networks that grow into model.name, the shallowest first and with spaces between",
    setting_type=str,
    defaults=_NETWORKS,
    cells=_cells,
    hypotheses=_hypotheses,
    figure="end",
    axis="networks that grow into the recipe's",
    varies="search.recursive.networks",
    metavar="NETWORKS...",
    pruning_methods=("recursive",),
    needs=(needs_training, _needs_weights),
    check_networks=_check_networks,
)
