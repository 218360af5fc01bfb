"""Registers a made-up study by one line, and uses it everywhere: `use_made_up_study.py FOLDER`."""

import contextlib
import io
import json
import sys
from pathlib import Path

from quick_comparison import quick_comparisons

from robust_tickets.recipe.studies import STUDIES

STUDIES["search-batch"] = "made_up_study:STUDY"

from robust_tickets.cli.main import main  # noqa: E402

TINY = """
data = {name = "digits", train_images = 128, val_images = 40}
model = {name = "lenet-300-100", width = 0.2}
threat = {eps = "0.1"}
search = {method = "fgsm", epochs = 1, ratio = 0.5}
train = {method = "fgsm", epochs = 1, ticket_epochs = 1, batch = 64, lr = 0.1}
evaluate = {images = 20, batch = 20, val_steps = 1}
compute = {threads = 1}
study = {search_batch = [32, 64]}
"""


def run(*words: str) -> tuple[str, str]:
    """What a command prints, and what it logs."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(SystemExit):
        main(words)
    return out.getvalue(), err.getvalue()


def use(folder: Path) -> dict[str, object]:
    """What the help, the estimate, two runs of two seeds and the table have of the study."""
    result: dict[str, object] = {"help": run("study", "--help", "all")[0]}
    result["heavy"] = [name for name in ("torch", "pandas") if name in sys.modules]
    with quick_comparisons():  # the study makes figures, a table and a verdict of its own
        return result | use_recipe(folder)


def use_recipe(folder: Path) -> dict[str, object]:
    """What the estimate, the runs and the table have of it."""
    result: dict[str, object] = {}
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    words = ("study", "search-batch", "--recipe", str(folder / "tiny.toml"), "--runs", str(folder))
    result["estimate"] = run(*words, "--seeds", "1", "--dry-run")[0]
    run(*words, "--seeds", "1")
    result["log"] = run(*words, "--seeds", "2")[1]
    result["again"] = run(*words, "--seeds", "2")
    (study,) = folder.glob("study-search-batch-tiny-*")
    result["files"] = {file.name: file.read_text(encoding="utf-8") for file in study.iterdir()}
    result["table"] = {name: run("table", str(study), "--format", name)[0] for name in ("csv", "markdown")}
    return result


if __name__ == "__main__":
    print(json.dumps(use(Path(sys.argv[1]))))
