"""Names of recipe fields, values and flags that have changed or were never there, for messages on them."""

FIELDS = {
    "search.finder": "search.pruning_method",
    "search.spare": "search.ignored_layers",
    "search.scores": "search.criterion",
    "search.densities": "search.random.densities",
    "search.drops": "search.milestones",
    "train.drops": "train.milestones",
    "evaluate.choose": "evaluate.select_by",
}
"""Old recipe fields, each with its new name."""

VALUES = {("overfitting", "go-back"): "restore-best"}
"""Old values of recipe fields, by the field's last part, each with its new name."""

_FLAGS = {"--save-minutes": "--checkpoint-minutes", "--save-steps": "--checkpoint-steps"}


_NO_SEARCH_AVERAGE = (
    "a search prunes the weights themselves: leave it out, train.average is for the trainings"
)

REASONS = {f"search.{name}": _NO_SEARCH_AVERAGE for name in ("average", "average_batches")}
"""Fields that one may expect and that do not exist, each with the reason."""


def flag_reason(flag: str) -> str | None:
    """The reason why a flag, without `=value`, does not exist; None for any that is not in `REASONS`."""
    return REASONS.get(flag.removeprefix("--").replace("-", "_"))


def new_flag(flag: str) -> str | None:
    """The new name of an old flag of the command line, None for any other; without `=value`."""
    name = flag.partition("=")[0].replace("_", "-")
    if name in _FLAGS:
        return _FLAGS[name]
    field = FIELDS.get(name.removeprefix("--").replace("-", "_"))
    return None if field is None else f"--{field.replace('_', '-')}"


ARGUMENTS = {
    "quiet": "call robust_tickets.show_progress(False) once",
    "seed": "name the seeds, as seeds=[3] or seeds=range(10, 16)",
}
"""Arguments of the Python functions, and what to write in their place."""
