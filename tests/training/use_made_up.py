"""Registers a training method and a pruning method by a line each, and uses them: `use_made_up.py FOLDER`."""

import contextlib
import io
import json
import sys
from pathlib import Path

from robust_tickets.recipe.methods import METHODS
from robust_tickets.recipe.pruning_methods import PRUNING_METHODS

METHODS["made_up"] = "made_up:MadeUp"
PRUNING_METHODS["every_nth"] = "made_up:EveryNth"

from robust_tickets.base.machine import Machine  # noqa: E402
from robust_tickets.base.progress import SilentProgress  # noqa: E402
from robust_tickets.cli.main import main  # noqa: E402
from robust_tickets.recipe import recipe as recipes  # noqa: E402
from robust_tickets.runs.directory import RunDirectory  # noqa: E402

TINY = """
data = {name = "digits", train_images = 128, val_images = 40}
model = {name = "lenet-300-100", width = 0.2}
threat = {eps = "0.1"}
search = {batch = 32, SEARCH}
train = {TRAIN, epochs = 2, ticket_epochs = 1, batch = 32}
evaluate = {images = 20, batch = 20, val_steps = 1}
compare = {arms = ["dense", "ticket"]}
compute = {threads = 1}
"""
SNIP = 'method = "made_up", made_up = {weight = 3.0}, ratio = 0.5, pruning_method = "snip"'
EVERY_NTH = 'method = "natural", pruning_method = "every_nth", every_nth = {n = 4}'
RECIPES = {"snip": ('method = "made_up"', SNIP), "nth": ('method = "natural"', EVERY_NTH)}


class Killed(BaseException):
    """Stands for kill -9."""


def output_of(*words: str) -> str:
    """What a command prints, on either stream."""
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.redirect_stderr(text):
        with contextlib.suppress(SystemExit):
            main(words)
        return text.getvalue()


def use_commands(folder: Path) -> dict[str, object]:
    """The outputs of commands that meet the methods."""
    for name, (train, search) in RECIPES.items():
        text = TINY.replace("TRAIN", train).replace("SEARCH", search)
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    command = ("--recipe", str(folder / "nth.toml"), "--runs", str(folder))
    result: dict[str, object] = {
        "train help": output_of("train", "--help", "train"),
        "search help": output_of("search", "--help", "search"),
        "refused": output_of("search", *command, "--search.ratio", "0.5"),
        "torch": "torch" in sys.modules,
        "estimates": [
            output_of("compare", "--recipe", str(folder / f"{name}.toml"), "--dry-run") for name in RECIPES
        ],
    }
    output_of("search", *command)
    (ticket,) = folder.rglob("ticket.safetensors")
    result["ticket"] = output_of("ticket", "show", str(ticket))
    result["every_nth"] = json.loads((ticket.parent / "ledger.json").read_text(encoding="utf-8"))["passes"]
    return result


def use_stages(folder: Path) -> dict[str, object]:
    """What SNIP, and a training that is killed and resumed have of the training method."""
    from robust_tickets.comparison import compare
    from robust_tickets.stages.experiment import Experiment
    from robust_tickets.stages.search import search
    from robust_tickets.training.checkpointer import Checkpointer

    machine = Machine("cpu", SilentProgress(), checkpoint_minutes=0, checkpoint_steps=1)
    experiment = Experiment(recipes.load(str(folder / "snip.toml")), machine=machine)
    save, result = Checkpointer.save, {}

    def killed(self: Checkpointer, step: int, state: dict[str, object]) -> None:
        save(self, step, state)
        if step == 6:
            raise Killed

    for name in ("whole", "killed"):
        run = RunDirectory.of(folder / name, experiment.recipe)
        ticket = search(experiment, 0, run)
        if name == "killed":
            Checkpointer.save = killed  # type: ignore[method-assign]
            with contextlib.suppress(Killed):
                compare.train_from(experiment, 0, folder / name, None)
            Checkpointer.save = save  # type: ignore[method-assign]
            result["saved"] = [file.name for file in run.path.rglob("step-*")]
        arms = [compare.train_from(experiment, 0, folder / name, None)]
        if name == "whole":
            arms += [compare.train_from(experiment, 0, folder / name, ticket)]
            ledgers = [json.loads((Path(str(arm)) / "ledger.json").read_text()) for arm in arms]
            result["passes"] = [ledger["passes"] for ledger in ledgers]
            result["search"] = json.loads((ticket.parent / "ledger.json").read_text())["passes"]
        dense = Path(str(arms[0]))
        result[name] = [
            (dense / "last.safetensors").read_bytes().hex(),
            (dense / "metrics.jsonl").read_text(encoding="utf-8"),
        ]
    return result


if __name__ == "__main__":
    print(json.dumps(use_commands(Path(sys.argv[1])) | use_stages(Path(sys.argv[1]))))
