"""A folder as a user of the documentation would have it: recipes, images, and the results of small runs."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from doc_blocks import ROOT
from image_folders import as_tree, contents
from quick_comparison import quick_comparisons

from robust_tickets.cli.main import main

MINE = """
model = {name = "lenet-300-100", width = 0.2}
data = {name = "digits", train_images = 64, val_images = 20}
threat = {eps = "0.1"}
search = {method = "fgsm", epochs = 1, batch = 32, lr = 0.05, ratio = 0.5}
train = {epochs = 2, ticket_epochs = 1, batch = 32, lr = 0.05, pgd = {steps = 1}}
evaluate = {images = 20, batch = 20, val_steps = 1}
compute = {threads = 1}
"""


@pytest.fixture(scope="session")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, built once."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "mine.toml").write_text(MINE)
    as_tree(folder / "photos", contents(each=8))
    with pytest.MonkeyPatch.context() as patch, quick_comparisons(report=True):
        _prepare(patch, folder)
        main(shlex.split("search --recipe mine.toml --model.name resnet20 --search.pruning-method random"))
        ticket = next(folder.glob("runs/*/seed-0/search/ticket.safetensors"))
        shutil.copy(ticket, folder / "ticket.safetensors")
        main(shlex.split("compare --recipe mine.toml --runs done --compare.arms dense ticket"))
    shutil.rmtree(folder / "runs")
    (folder / "done").rename(folder / "runs")
    run = next(folder.glob("runs/mine-*"))
    for name in ("RUN", "OTHER-RUN"):
        shutil.copytree(run, folder / name)
    arm = run / "seed-0" / "dense"
    shutil.copy(arm / "best.safetensors", folder)
    for name in ("other", "A", "B", "C"):
        (folder / name).mkdir()
        for checkpoint in ("best.safetensors", "last.safetensors"):
            shutil.copy(arm / checkpoint, folder / name)
    return folder


@pytest.fixture
def workspace(_built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the folder for one test, which runs in it."""
    folder = tmp_path / "work"
    shutil.copytree(_built, folder)
    (folder / "runs" / "reference").symlink_to(ROOT / "runs" / "reference")
    _prepare(monkeypatch, folder)
    yield folder
    for name in ("my_nets", "half_step", "wandb"):  # modules of the pages, another in each folder
        sys.modules.pop(name, None)


def _prepare(patch: pytest.MonkeyPatch, folder: Path) -> None:
    for variable in [name for name in os.environ if name.startswith("ROBUST_TICKETS_")]:
        patch.delenv(variable)
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    patch.setenv("COLUMNS", "200")
    patch.chdir(folder)
