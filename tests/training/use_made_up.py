"""Registers a made-up method by one line, and uses it everywhere: `use_made_up.py FOLDER`."""

import contextlib
import io
import json
import sys
from pathlib import Path

from robust_tickets.recipe.methods import METHODS

METHODS["made_up"] = "made_up:MadeUp"

from robust_tickets.base.machine import Machine  # noqa: E402
from robust_tickets.base.progress import SilentProgress  # noqa: E402
from robust_tickets.cli.main import main  # noqa: E402
from robust_tickets.recipe import recipe as recipes  # noqa: E402
from robust_tickets.runs.directory import RunDirectory  # noqa: E402

TINY = """
data = {name = "digits", train_images = 128, val_images = 40}
model = {name = "lenet-300-100", width = 0.2}
threat = {eps = "0.1"}
search = {method = "made_up", made_up = {weight = 3.0}, batch = 32, ratio = 0.5, pruning_method = "snip"}
train = {method = "made_up", epochs = 2, ticket_epochs = 1, batch = 32}
evaluate = {images = 20, batch = 20, val_steps = 1}
compare = {arms = ["dense", "ticket"]}
compute = {threads = 1}
"""


class Killed(BaseException):
    """Stands for kill -9."""


def output_of(*words: str) -> str:
    """What a command prints."""
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        main(words)
    return text.getvalue()


def use(folder: Path) -> dict[str, object]:
    """What the help, the estimate, SNIP, and a training that is killed and resumed have of the method."""
    result: dict[str, object] = {
        "help": output_of("train", "--help", "train"),
        "torch": "torch" in sys.modules,
    }
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    result["estimate"] = output_of("compare", "--recipe", str(folder / "tiny.toml"), "--dry-run")

    from robust_tickets.comparison import compare
    from robust_tickets.stages.experiment import Experiment
    from robust_tickets.stages.search import search
    from robust_tickets.training.checkpointer import Checkpointer

    experiment = Experiment(recipes.load(str(folder / "tiny.toml")))
    machine = Machine("cpu", SilentProgress(), checkpoint_minutes=0, checkpoint_steps=1)
    save = Checkpointer.save

    def killed(self: Checkpointer, step: int, state: dict[str, object]) -> None:
        save(self, step, state)
        if step == 6:
            raise Killed

    for name in ("whole", "killed"):
        run = RunDirectory.of(folder / name, experiment.recipe)
        ticket = search(experiment, 0, run, machine)
        if name == "killed":
            Checkpointer.save = killed  # type: ignore[method-assign]
            with contextlib.suppress(Killed):
                compare.train_from(experiment, 0, folder / name, machine, None)
            Checkpointer.save = save  # type: ignore[method-assign]
            result["saved"] = [file.name for file in run.path.rglob("step-*")]
        arms = [compare.train_from(experiment, 0, folder / name, machine, None)]
        if name == "whole":
            arms += [compare.train_from(experiment, 0, folder / name, machine, ticket)]
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
    print(json.dumps(use(Path(sys.argv[1]))))
