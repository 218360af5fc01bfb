"""Registers a made-up pruning method by one line, and uses it by the command line alone."""

import contextlib
import io
import json
import sys
from pathlib import Path

from robust_tickets.recipe.pruning_methods import PRUNING_METHODS

PRUNING_METHODS["every_nth"] = "made_up_pruning:EveryNth"

from robust_tickets.cli.main import main  # noqa: E402

TINY = """
data = {name = "digits", train_images = 128, val_images = 40}
model = {name = "lenet-300-100", width = 0.2}
threat = {eps = "0.1"}
search = {method = "natural", batch = 32, pruning_method = "every_nth", every_nth = {n = 4}}
train = {method = "natural", epochs = 2, ticket_epochs = 1, batch = 32}
evaluate = {images = 20, batch = 20, val_steps = 1}
compare = {arms = ["dense", "ticket"]}
compute = {threads = 1}
"""


def output_of(*words: str) -> str:
    """What a command prints, on either stream."""
    with io.StringIO() as text:
        with (
            contextlib.redirect_stdout(text),
            contextlib.redirect_stderr(text),
            contextlib.suppress(SystemExit),
        ):
            main(words)
        return text.getvalue()


def use(folder: Path) -> dict[str, object]:
    """The outputs of commands that meet the method."""
    recipe = folder / "tiny.toml"
    recipe.write_text(TINY, encoding="utf-8")
    command = ("--recipe", str(recipe), "--runs", str(folder))
    result: dict[str, object] = {"help": output_of("search", "--help", "search")}
    result["refused"] = output_of("search", *command, "--search.ratio", "0.5")
    result["torch"] = "torch" in sys.modules
    result["estimate"] = output_of("compare", *command, "--dry-run")
    output_of("search", *command)
    (ticket,) = folder.rglob("ticket.safetensors")
    result["ticket"] = output_of("ticket", "show", str(ticket))
    result["passes"] = json.loads((ticket.parent / "ledger.json").read_text(encoding="utf-8"))["passes"]
    return result


if __name__ == "__main__":
    print(json.dumps(use(Path(sys.argv[1]))))
