"""Reads damaged files in little memory: `reading.py FILES FOLDER KIND...`; prints `KIND REFUSED` lines."""

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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mutations import change_table, change_tensors, mutate
from PIL import Image

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.progress import SilentProgress, StageProgress
from robust_tickets.data import load
from robust_tickets.evaluation.verdict_matrix import VerdictMatrix
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import Data
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.recipe import Recipe, shipped_names, to_table, to_toml
from robust_tickets.recipe.recipe import load as load_recipe
from robust_tickets.recipe.training_fields import Training
from robust_tickets.runs import files as run_files
from robust_tickets.runs import tensor_file
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.checkpointer import Checkpointer
from robust_tickets.training.monitors import Monitor
from robust_tickets.training.optimisers import make_optimiser
from robust_tickets.training.published_weights import load_published
from robust_tickets.training.state import TrainingState

SPEC = ModelSpec("lenet-300-100", 0.03, (1, 8, 8), 10, (0.3,), (0.4,))
PUBLISHED = ModelSpec("resnet20", 0.5, (3, 8, 8), 10, (0.0,) * 3, (1.0,) * 3)


def tickets(folder: Path) -> list[bytes]:
    net, table, file = registry.build(SPEC, seed=0), to_table(Recipe()), folder / "ticket"
    search = {"search": table["search"]}
    Ticket(SPEC, copy_state(net), Mask.full(net), search, "0" * 16, 0, 10, 100).save(file)
    return [file.read_bytes()]


def checkpoints(folder: Path) -> list[bytes]:
    state, file = copy_state(registry.build(SPEC, seed=0)), folder / "checkpoint"
    Checkpoint(state, SPEC, to_table(Recipe()), "0" * 16, "dense", 0, 1, 0.5, 0.25).save(file)
    return [file.read_bytes()]


def training_state() -> TrainingState:
    """A training before its first step, with memory of each kind."""
    net, settings = registry.build(SPEC, seed=0), Training()
    state = TrainingState(
        net=net,
        optimiser=make_optimiser(net, SPEC.shape, settings),
        method=make_method(settings),
        monitor=Monitor(net, "train", StageProgress(), lambda step: 0.1),
        ledger=Ledger("train"),
        hook=None,
        step=4,
        epoch=1,
        loss_sum=torch.zeros(()),
        best=copy_state(registry.build(SPEC, seed=1)),
        best_epoch=1,
        history=[{"epoch": 1, "step": 4, "val_robust": 0.1}],
        points=[{"step": 2, "epoch": 0.5, "val_loss": 2.3}],
    )
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.optimiser.step()
    return state


def states(folder: Path) -> list[bytes]:
    Checkpointer(folder / "states").save(4, training_state().state_dict())
    return [file.read_bytes() for file in (folder / "states").iterdir()]


def read_state(file: Path) -> TrainingState:
    """The newest state of the file's folder, put into a training."""
    progress = Log()
    saved = Checkpointer(file.parent, progress=progress).newest()
    if saved is None:
        raise InputError(progress.lines[-1] if progress.lines else "it is of another training")
    state = training_state()
    state.load_state_dict(saved)
    return state


class Log(SilentProgress):
    """Progress that remembers its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)


def recipes(folder: Path) -> list[bytes]:
    return [to_toml(load_recipe(name)).encode() for name in shipped_names()]


def verdicts(folder: Path) -> list[bytes]:
    matrix = read_verdicts(folder / "verdicts.npz")
    for attack in ("clean", "pgd-20", "square"):
        matrix.column(attack, "steps=20").verdicts[:20] = 1
    matrix.save()
    return [(folder / "verdicts.npz").read_bytes()]


def read_verdicts(file: Path) -> VerdictMatrix:
    return VerdictMatrix(torch.arange(40), torch.arange(40) % 10, file, {"eps": "8/255"})


def weights(folder: Path) -> list[bytes]:
    """A state dict in both formats of torch.save."""
    contents = [io.BytesIO(), io.BytesIO()]
    state = registry.build(PUBLISHED, seed=0).state_dict()
    for content, zipped in zip(contents, (True, False), strict=True):
        torch.save({"state_dict": state}, content, _use_new_zipfile_serialization=zipped)
    return [content.getvalue() for content in contents]


def pictures() -> dict[str, bytes]:
    """Images of two classes in two splits, by path."""
    rng, files = np.random.default_rng(0), {}
    for place in (
        f"{split}/{label}/{number}" for split in ("train", "test") for label in "ab" for number in "012"
    ):
        content, suffix = io.BytesIO(), "bmp" if place.endswith("0") else "png"
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(content, suffix)
        files[f"{place}.{suffix}"] = content.getvalue()
    return files


def tars(folder: Path) -> list[bytes]:
    contents = []
    for mode in ("w", "w:gz", "w:xz"):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode=mode) as archive:
            for name, picture in pictures().items():
                member = tarfile.TarInfo(name)
                member.size = len(picture)
                archive.addfile(member, io.BytesIO(picture))
        contents.append(content.getvalue())
    return contents


def zips(folder: Path) -> list[bytes]:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, picture in pictures().items():
            archive.writestr(name, picture)
    return [content.getvalue()]


def read_images(file: Path) -> object:
    return load.load(Data("folder", root=file, val_images=2))


def ledgers(folder: Path) -> list[bytes]:
    ledger = {"stage": "train", "seconds": {"attack": 1.5}, "passes": {}, "charged_passes": 10}
    return [json.dumps(ledger).encode(), json.dumps([ledger] * 3, indent=1).encode()]


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name, whole samples, its reader, and its kind as a tensor file with a hash."""

    name: str
    samples: Callable[[Path], list[bytes]]
    read: Callable[[Path], object]
    hashed: str = ""


KINDS = {
    "ticket": Kind("ticket.safetensors", tickets, Ticket.load, "ticket"),
    "checkpoint": Kind("best.safetensors", checkpoints, lambda f: Checkpoint.load(f).net(), "checkpoint"),
    "state": Kind("step-00000004.safetensors", states, read_state, "training state"),
    "recipe": Kind("mine.toml", recipes, lambda file: load_recipe(str(file))),
    "verdicts": Kind("verdicts.npz", verdicts, read_verdicts),
    "weights": Kind("weights.pt", weights, lambda file: load_published(file, PUBLISHED, Recipe())),
    "tar": Kind("images.tar", tars, read_images),
    "zip": Kind("images.zip", zips, read_images),
    "json": Kind("ledger.json", ledgers, run_files.read_json),
}


def forge(file: Path, sample: bytes, kind: str, rng: random.Random) -> None:
    """Write a tensor file with wrong content and the right hash."""
    file.write_bytes(sample)
    tensors, meta = tensor_file.load(file, kind)
    del meta["hash"], meta["kind"], meta["version"]
    if rng.random() < 0.6:
        meta = change_table(meta, rng)
    else:
        tensors = change_tensors(tensors, rng)
    tensor_file.save(file, kind, tensors, meta)


def limit_memory(more: int) -> None:
    """Allow this process so many bytes of address space more than it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def count_refused(name: str, kind: Kind, samples: list[bytes], files: int, folder: Path) -> int:
    """Read damaged files, each written where a whole one would lie; the number that was refused."""
    file, rng, refused = folder / kind.name, random.Random(zlib.crc32(name.encode())), 0
    for number, content in enumerate(mutate(samples, files, rng)):
        if kind.hashed and number % 2:
            forge(file, samples[0], kind.hashed, rng)
        else:
            file.write_bytes(content)
        try:
            kind.read(file)
        except InputError as error:
            refused += 1
            if len(str(error)) > 20_000:
                sys.exit(f"{name} {number}: a message of {len(str(error))} characters")
        except BaseException:
            print(f"{name} {number} is at {file}", flush=True)
            raise
    return refused


def main(files: int, folder: Path, names: list[str]) -> None:
    """Read whole samples of all kinds, then damaged ones under a limit of memory."""
    warnings.simplefilter("ignore")
    samples = {}
    for name in names:
        place = folder / name
        place.mkdir()
        samples[name] = KINDS[name].samples(place)
        for content in samples[name]:
            (place / KINDS[name].name).write_bytes(content)
            KINDS[name].read(place / KINDS[name].name)
    limit_memory(1 << 30)
    for name in names:
        print(name, count_refused(name, KINDS[name], samples[name], files, folder / name), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
