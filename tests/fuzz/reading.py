"""Read damaged files of one kind: `reading.py KIND N FOLDER`. Prints how many there were and were refused."""

import io
import json
import random
import resource
import sys
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mutations import forged, misshapen, mutated
from PIL import Image

from robust_tickets.base.errors import InputError
from robust_tickets.data import load
from robust_tickets.evaluation.verdict_matrix import VerdictMatrix
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import Data
from robust_tickets.recipe.recipe import Recipe, shipped_names, to_table, to_toml
from robust_tickets.recipe.recipe import load as load_recipe
from robust_tickets.runs import files as run_files
from robust_tickets.runs import tensor_file
from robust_tickets.stages.checkpointer import Checkpointer, CheckpointInterval
from robust_tickets.stages.state_files import TRAINING
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.loop import copy_state
from robust_tickets.training.published_weights import load_published
from robust_tickets.training.state import TrainingState

GIGABYTE = 2**30
SPEC = ModelSpec("lenet-300-100", 0.03, (1, 8, 8), 10, (0.3,), (0.4,))
RAW = ModelSpec("resnet20", 0.5, (3, 8, 8), 10, (0.0,) * 3, (1.0,) * 3)


def tickets(folder: Path) -> list[bytes]:
    net = registry.build(SPEC, seed=0)
    mask = Mask({name: kept > -1 for name, kept in Mask.full(net).items()})
    table = to_table(Recipe())
    Ticket(SPEC, copy_state(net), mask, {"search": table["search"]}, "0" * 16, 0, 10, 100).save(folder / "t")
    return [(folder / "t").read_bytes()]


def checkpoints(folder: Path) -> list[bytes]:
    state = copy_state(registry.build(SPEC, seed=0))
    Checkpoint(state, SPEC, to_table(Recipe()), "0" * 16, "dense", 0, 1, 0.5, 0.25).save(folder / "c")
    return [(folder / "c").read_bytes()]


def states(folder: Path) -> list[bytes]:
    state = copy_state(registry.build(SPEC, seed=0))
    record = {"epoch": 1, "step": 4, "val_robust": 0.1}
    moments = {
        "0/momentum_buffer": torch.zeros_like(next(iter(registry.build(SPEC, seed=0).parameters())).detach())
    }
    Checkpointer(folder / "states", TRAINING, {}, CheckpointInterval(), print).keep(
        4,
        TrainingState(
            4,
            state,
            moments,
            copy_state(registry.build(SPEC, seed=1)),
            1,
            None,
            torch.zeros(()),
            [record],
            (),
            {"seconds": {}},
            [{"columns": [], "verdicts": torch.zeros(2, 5)}, {"step": 3, "current": torch.zeros(4, 1, 8, 8)}],
            [{"step": 2, "epoch": 0.5, "val_loss": 2.3}],
            {"0/fc1.weight": torch.zeros(9, dtype=torch.uint8)},
        ),
    )
    return [file.read_bytes() for file in (folder / "states").iterdir()]


def recipes(folder: Path) -> list[bytes]:
    return [to_toml(load_recipe(name)).encode() for name in shipped_names()]


def verdicts(folder: Path) -> list[bytes]:
    matrix = VerdictMatrix(torch.arange(40), torch.arange(40) % 10, folder / "v.npz", {"eps": "8/255"})
    for attack in ("clean", "pgd-20", "square"):
        matrix.column(attack, "steps=20").verdicts[:20] = 1
    matrix.save()
    return [(folder / "v.npz").read_bytes()]


def weights(folder: Path) -> list[bytes]:
    state = registry.build(RAW, seed=0).state_dict()
    found = []
    for zipped in (True, False):
        content = io.BytesIO()
        torch.save({"state_dict": state}, content, _use_new_zipfile_serialization=zipped)
        found.append(content.getvalue())
    return found


def pictures() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    found = {}
    for split in ("train", "test"):
        for kind in "ab":
            for number in range(3):
                content = io.BytesIO()
                pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(content, "PNG" if number else "BMP")
                found[f"{split}/{kind}/{number}.{'png' if number else 'bmp'}"] = content.getvalue()
    return found


def tars(folder: Path) -> list[bytes]:
    found = []
    for mode in ("w", "w:gz", "w:xz"):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode=mode) as archive:
            for name, picture in pictures().items():
                info = tarfile.TarInfo(name)
                info.size = len(picture)
                archive.addfile(info, io.BytesIO(picture))
        found.append(content.getvalue())
    return found


def zips(folder: Path) -> list[bytes]:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, picture in pictures().items():
            archive.writestr(name, picture)
    return [content.getvalue()]


def accounts(folder: Path) -> list[bytes]:
    account = {"stage": "train", "seconds": {"attack": 1.5}, "passes": {}, "charged_passes": 10}
    return [json.dumps(account).encode(), json.dumps([account] * 3, indent=1).encode()]


def of_folder(file: Path) -> object:
    return load.load(Data("folder", root=file, val_images=2))


def state_in(file: Path) -> object:
    """The newest state of the file's folder, put into a net and an optimiser."""
    said: list[str] = []
    state = Checkpointer(file.parent, TRAINING, {}, CheckpointInterval(), said.append).newest()
    if state is None:
        raise InputError(said[-1] if said else "it is of another training")
    net = registry.build(SPEC, seed=0)
    state.restore(net, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9))
    return state


KINDS: dict[str, tuple[Callable[[Path], list[bytes]], Callable[[Path], object], str]] = {
    "ticket": (tickets, Ticket.load, "ticket.safetensors"),
    "checkpoint": (checkpoints, lambda file: Checkpoint.load(file).net(), "best.safetensors"),
    "state": (states, state_in, "step-00000004.safetensors"),
    "recipe": (recipes, lambda file: load_recipe(str(file)), "mine.toml"),
    "verdicts": (
        verdicts,
        lambda file: VerdictMatrix(torch.arange(40), torch.arange(40) % 10, file, {"eps": "8/255"}),
        "verdicts.npz",
    ),
    "weights": (weights, lambda file: load_published(file, RAW, Recipe()), "weights.pt"),
    "tar": (tars, of_folder, "images.tar"),
    "zip": (zips, of_folder, "images.zip"),
    "json": (accounts, run_files.read_json, "ledger.json"),
}


HASHED = {"ticket": "ticket", "checkpoint": "checkpoint", "state": "training state"}


def forge(file: Path, valid: bytes, kind: str, rng: random.Random) -> None:
    """Write a file whose content is odd and whose hash is right."""
    file.write_bytes(valid)
    tensors, meta = tensor_file.load(file, kind)
    del meta["hash"], meta["kind"], meta["version"]
    if rng.random() < 0.6:
        meta = forged(meta, rng)
    else:
        tensors = misshapen(tensors, rng)
    tensor_file.save(file, kind, tensors, meta)


def main(kind: str, n: int, folder: Path) -> None:
    """Read them, each written where a whole one would lie."""
    warnings.simplefilter("ignore")
    make, read, name = KINDS[kind]
    folder.mkdir(exist_ok=True)
    valid, file = make(folder), folder / name
    for content in valid:
        file.write_bytes(content)
        read(file)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + GIGABYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    refused = files = 0
    rng = random.Random(zlib.crc32(kind.encode()))
    for number, content in enumerate(mutated(valid, n, rng)):
        if kind in HASHED and number % 2:
            forge(file, valid[0], HASHED[kind], rng)
        else:
            file.write_bytes(content)
        files += 1
        try:
            read(file)
        except InputError as error:
            refused += 1
            if len(str(error)) > 20_000:
                sys.exit(f"file {number}: a message of {len(str(error))} characters")
        except BaseException:
            (folder / f"bad-{kind}-{number}").write_bytes(content)
            print(f"file {number} of {kind}, kept in {folder}", flush=True)
            raise
    print(files, refused)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
