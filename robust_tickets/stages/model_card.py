"""The model card of a ticket or a checkpoint: what it is, how it was found, what it cost, what it reaches."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w

from robust_tickets.base.paths import check_other_file, follow_links
from robust_tickets.models.registry import ModelSpec
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report import card_results as results
from robust_tickets.report.model_card import ModelCard, bullets, code
from robust_tickets.runs import files, tensor_file
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.downloads import result_folder
from robust_tickets.stages.card_snippets import checkpoint_snippet, ticket_snippet
from robust_tickets.tickets.inspection import layer_table, origin
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training import checkpoint as checkpoints
from robust_tickets.training.checkpoint import Checkpoint

_LAYERS_SHOWN = 24
_FLOPS_NOTE = (
    "A pass is one sample once through the network: forward, backward to the input, or full backward. FLOPs "
    "are passes times the network's forward FLOPs, a full backward counting twice. Validation and evaluation "
    "are not counted."
)


def write_card(file: Path, out: Path | None = None, licence: str = "") -> Path:
    """Write the model card of a ticket or a checkpoint; returns its file.

    file: the ticket or checkpoint. Where it lies in the run directory that wrote it, the card has the
        accuracies of the arms trained from the ticket, or of the checkpoint's arm, and those of dense.
    out: file to write; None: `<name>-card.md` beside it, or in the current folder where it was downloaded.
    licence: a short text; "": the card says that none was given.

    Raises InputError for a file that is neither, and for files of the run that cannot be read.
    """
    text = model_card(file, licence).markdown()
    target = out or result_folder(file) / f"{file.stem}-card.md"
    check_other_file(target, file)
    files.write_text(target, text)
    return target


def model_card(file: Path, licence: str = "") -> ModelCard:
    """The card of a ticket or a checkpoint, as `write_card` writes it."""
    if tensor_file.kind_of(file) == checkpoints.KIND:
        return _checkpoint_card(file, Checkpoint.load(file), licence)
    return _ticket_card(file, Ticket.load(file), licence)


@dataclass(frozen=True)
class _Place:
    """The place of a file in a run directory.

    run: the run directory.
    arms: the folders of the arms whose accuracies the card has.
    stages: the folders of the stages whose costs it has.
    """

    run: RunDirectory
    arms: results.Folders
    stages: results.Folders


def _ticket_card(file: Path, ticket: Ticket, licence: str) -> ModelCard:
    mask, model, recipe = ticket.mask, ticket.model, recipes.from_table(ticket.search)
    place, facts = _ticket_place(file, ticket), origin(ticket)
    accuracies, kept = _accuracy_table(place), "weights" if mask.basis is None else "coefficients"
    what = (
        f"A *ticket*: a sparse sub-network of {code(model.name)}, and the weights that a training starts "
        f"from. {mask.count:,} of {mask.size:,} prunable {kept} are kept. It is a start: the networks that "
        "were trained from it have files of their own."
    )
    found = {head: code(words) for head, words in facts.items() if head not in ("network", "cost", "hash")}
    if place is not None:
        found = {"recipe": code(place.run.recipe.name)} | found
    settings = "" if ticket.source else _settings(ticket.search)
    cost = f"The search: {ticket.passes:,} passes, {ticket.flops:.4g} FLOPs."
    if ticket.source:
        cost = "The file does not say: it was not found by a search of robust-tickets."
    return ModelCard(
        f"Ticket of {code(model.name)}, {_percent(mask.density)} of the {kept} kept",
        [] if ticket.source else _datasets(recipe),
        [
            ("What it is", f"{what}\n\n{bullets(_identity(file, model, ticket.hash))}\n\n{_layers(ticket)}"),
            ("How it was found", bullets(found) + settings),
            ("What it cost", _cost(cost, place)),
            ("Accuracies", _accuracies(place, accuracies)),
            ("How to load it", ticket_snippet(file.name, ticket)),
            ("Limits", _limits(None if ticket.source else recipe, accuracies)),
        ],
        licence,
    )


def _checkpoint_card(file: Path, checkpoint: Checkpoint, licence: str) -> ModelCard:
    model, recipe = checkpoint.model, checkpoint.resolved_recipe()
    place, table = _checkpoint_place(file), checkpoint.recipe
    accuracies = _accuracy_table(place)
    average = ", a moving average of its weights" if checkpoint.averaged else ""
    what = f"A trained network, {code(model.name)}: the arm {code(checkpoint.arm)}{average}."
    trained = {
        "recipe": code(recipe.name),
        "data": code(f"{recipe.data.name}, fingerprint {checkpoint.data}"),
        "threat": code(f"{recipe.threat.norm} {recipe.threat.eps}"),
        "arm": code(checkpoint.arm),
        "seed": str(checkpoint.seed),
        "epoch": str(checkpoint.epoch),
    }
    parts = ("data", "model", "threat", "search", "train", "arms")
    settings = _settings({name: table[name] for name in parts if table.get(name)})
    return ModelCard(
        f"{code(model.name)}, trained as {code(checkpoint.arm)}",
        _datasets(recipe),
        [
            ("What it is", f"{what}\n\n{bullets(_identity(file, model))}"),
            ("How it was trained", bullets(trained) + settings),
            ("What it cost", _cost("", place)),
            ("Accuracies", _accuracies(place, accuracies)),
            ("How to load it", checkpoint_snippet(file.name, model)),
            ("Limits", _limits(recipe, accuracies)),
        ],
        licence,
    )


def _ticket_place(file: Path, ticket: Ticket) -> _Place | None:
    """Where the search of a run wrote the ticket; None for any other ticket file."""
    folder = ArmDirectory(follow_links(file).parent)
    if not folder.in_run:
        return None
    run = RunDirectory.open(folder.run_path)
    if follow_links(file) != run.search(ticket.seed).ticket:
        return None
    arms = results.arms_of_ticket(run, ticket.seed)
    stages = {"search": folder, **{f"training of `{name}`": arm for name, arm in arms.items()}}
    return _Place(run, arms, {name: arm for name, arm in stages.items() if arm.is_finished})


def _checkpoint_place(file: Path) -> _Place | None:
    """Where the training of a run wrote the checkpoint; None for any other file."""
    path = follow_links(file)
    folder = ArmDirectory(path.parent)
    if not (folder.in_run and folder.is_finished and path in folder.checkpoints):
        return None
    run, name = RunDirectory.open(folder.run_path), folder.path.name
    arms = {name: folder, "dense": ArmDirectory(folder.path.with_name("dense"))}
    arms = {arm: each for arm, each in arms.items() if each.is_finished}
    before = results.stage_before(name)
    stages = {before: ArmDirectory(folder.path.with_name(before))} if before else {}
    stages |= {f"training of `{arm}`": each for arm, each in arms.items()}
    return _Place(run, arms, {stage: each for stage, each in stages.items() if each.is_finished})


def _identity(file: Path, model: ModelSpec, content: str = "") -> dict[str, str]:
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    width = "" if ":" in model.name else f" at width {model.width:g}"
    return {
        "network": f"{code(model.name)}{width}",
        "images": f"{' x '.join(map(str, model.shape))}, in [0, 1]; {model.classes} classes",
        "file": f"{code(file.name)}, sha256 {code(sha256)}",
        **({"hash of the ticket": code(content)} if content else {}),
    }


def _settings(table: dict[str, Any]) -> str:
    """All settings in a block that is folded up at first."""
    toml = f"```toml\n{tomli_w.dumps(table)}```"
    return f"\n\n<details><summary>All settings</summary>\n\n{toml}\n\n</details>"


def _layers(ticket: Ticket) -> str:
    """The share of weights that is kept of each layer, in a sentence."""
    table = layer_table(ticket.mask)
    head = "Kept by layer"
    if len(table) > _LAYERS_SHOWN:
        table = table.sort_values("density").iloc[[0, -1]]
        head = f"Of {len(ticket.mask)} layers, the one of which least and the one of which most is kept"
    return f"{head}: {', '.join(f'{code(row.layer)} {_percent(row.density)}' for row in table.itertuples())}."


def _cost(search: str, place: _Place | None) -> str:
    if place is None:
        missing = "Seconds are" if search else "The cost is"
        end = f"{missing} not in the file, but in the run directory that wrote it."
        return " ".join(filter(None, [search, end, _FLOPS_NOTE]))
    search = "" if "search" in place.stages else search
    table = results.markdown_table(results.cost_table(place.run, place.stages))
    return "\n\n".join(filter(None, [search, table, f"{_FLOPS_NOTE} {results.machine_note(place.run)}"]))


def _accuracy_table(place: _Place | None) -> pd.DataFrame:
    return pd.DataFrame() if place is None else results.accuracy_table(place.run, place.arms)


def _accuracies(place: _Place | None, table: pd.DataFrame) -> str:
    if place is None:
        return "None are known: the file lies in no run directory that wrote it."
    if table.empty:
        return "None are known: nothing that was trained was evaluated."
    threat, select = place.run.recipe.threat, place.run.recipe.evaluate.select_by
    return (
        f"{results.markdown_table(table)}\n\nAccuracy on test images in per cent, with its 95 % interval "
        f"over images like these (Wilson), under attacks within {threat.norm} {threat.eps}; of one seed, so "
        "that nothing is known of others. The last epoch comes first, as nothing chose it; the best epoch "
        f"was chosen by {select} accuracy on validation images."
    )


def _limits(recipe: Recipe | None, accuracies: pd.DataFrame) -> str:
    lines = []
    if recipe is not None:
        threat = f"{recipe.threat.norm} {recipe.threat.eps}"
        lines.append(f"It is meant to resist changes of an image within {threat}, and no others.")
    lines.append(
        "A robust accuracy is an upper bound under these attacks: a stronger attack can only lower it."
    )
    if not (accuracies.empty or any("AutoAttack" in column for column in accuracies.columns)):
        lines.append("The whole of AutoAttack was not run; it usually leaves less than PGD-20.")
    lines.append("Nothing is known of images of another kind than those of the data set.")
    return "\n".join(f"- {line}" for line in lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _datasets(recipe: Recipe) -> list[str]:
    """The data set, if it is one that others have."""
    return [] if recipe.data.name == "folder" else [recipe.data.name]
