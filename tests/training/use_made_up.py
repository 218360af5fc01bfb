"""Registers a training method, a wrapper and a pruning method, and uses them: `use_made_up.py FOLDER`."""

import contextlib
import io
import json
import sys
from pathlib import Path

from quick_comparison import quick_comparisons

from robust_tickets.recipe.methods import METHODS, WRAPPERS
from robust_tickets.recipe.pruning_methods import PRUNING_METHODS

METHODS["made_up"] = "made_up:MadeUp"
WRAPPERS["louder"] = "made_up:Louder"
PRUNING_METHODS["every_nth"] = "made_up:EveryNth"

from robust_tickets.cli.main import main  # noqa: E402

TINY = """
data = {name = "digits", train_images = 128, val_images = 40}
model = {name = "lenet-300-100", width = 0.2}
threat = {eps = "0.1"}
evaluate = {images = 20, batch = 20, val_steps = 1}
compare = {arms = ["dense", "ticket"]}
compute = {threads = 1}
"""
RECIPES = {
    "snip": """
search = {batch = 32, method = "made_up", made_up = {weight = 3.0}, ratio = 0.5, pruning_method = "snip"}
train = {batch = 32, method = "made_up", louder = {factor = 3.0}, epochs = 2, ticket_epochs = 1}
""",
    "nth": """
search = {batch = 32, method = "natural", pruning_method = "every_nth", every_nth = {n = 4}}
train = {batch = 32, method = "natural", epochs = 2, ticket_epochs = 1}
""",
}


def output_of(*words: str) -> str:
    """What a command prints, on either stream."""
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.redirect_stderr(text):
        with contextlib.suppress(SystemExit):
            main(words)
        return text.getvalue()


def use(folder: Path) -> dict[str, object]:
    """The outputs of commands that meet the methods, and the passes in the ledgers that they leave."""
    commands = {}
    for name, recipe in RECIPES.items():
        (folder / f"{name}.toml").write_text(TINY + recipe, encoding="utf-8")
        commands[name] = ("--recipe", str(folder / f"{name}.toml"), "--runs", str(folder / name))
    result: dict[str, object] = {
        "train help": output_of("train", "--help", "train"),
        "search help": output_of("search", "--help", "search"),
        "refused": output_of("search", *commands["nth"], "--search.ratio", "0.5"),
        "torch": "torch" in sys.modules,
        "estimates": [output_of("compare", *command, "--dry-run") for command in commands.values()],
    }
    with quick_comparisons():
        output_of("compare", *commands["snip"])
    output_of("search", *commands["nth"])
    (ticket,) = (folder / "nth").rglob("ticket.safetensors")
    result["ticket"] = output_of("ticket", "show", str(ticket))
    result["passes"] = {
        f"{file.relative_to(folder).parts[0]} {file.parent.name}": json.loads(file.read_text())["passes"]
        for file in folder.rglob("ledger.json")
    }
    return result


if __name__ == "__main__":
    print(json.dumps(use(Path(sys.argv[1]))))
