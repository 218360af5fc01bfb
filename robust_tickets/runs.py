"""Run directories: where a stage's artefacts lie, and how they get there whole."""

import json
import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robust_tickets import recipe as recipes
from robust_tickets.errors import InputError
from robust_tickets.recipe import Recipe


@dataclass(frozen=True)
class RunDirectory:
    """`<runs>/<recipe name>-<8 hex>/`: the recipe, the machine, and `seed-<n>/<arm>/` for each arm."""

    path: Path
    recipe: Recipe

    @classmethod
    def of(cls, runs: Path, recipe: Recipe) -> "RunDirectory":
        """The directory of this recipe under `runs`; nothing is written yet."""
        return cls(runs / f"{recipe.name}-{recipe.identity}", recipe)

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """An existing run directory, its recipe read back. Raises InputError where there is none."""
        file = path / "recipe.toml"
        if not file.is_file():
            raise InputError(
                f"{path} is no run directory: it has no recipe.toml (one is made by search, train or compare)"
            )
        return cls(path, recipes.load(str(file)))

    def arm(self, seed: int, arm: str) -> Path:
        """Folder of one arm (or of the search) of one seed."""
        return self.path / f"seed-{seed}" / arm

    def seeds(self) -> list[int]:
        """Seeds that have a folder, in order."""
        names = (p.name.removeprefix("seed-") for p in self.path.glob("seed-*") if p.is_dir())
        return sorted(int(n) for n in names if n.isascii() and n.isdigit())

    def begin(self) -> None:
        """Write what describes the run: its recipe and the machine. An existing description stays."""
        if not (self.path / "recipe.toml").exists():
            write_text(self.path / "recipe.toml", recipes.dumps(self.recipe))
        if not (self.path / "env.json").exists():
            write_json(self.path / "env.json", machine(self.recipe.compute.threads))


def write(path: Path, save: Callable[[Path], None]) -> None:
    """Let `save` write a temporary file beside `path`, then put it in place: whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    os.close(handle)
    part = Path(name)
    try:
        save(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes files for their owner alone; results are meant to be read by others
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    write(path, lambda part: _put(part, text))


def write_json(path: Path, table: Any) -> None:
    """A JSON file, whole or not at all."""
    write_text(path, json.dumps(table, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """A JSON file of ours. Raises InputError if it is damaged or absent."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}: remove its folder and run the stage again") from None


def machine(threads: int) -> dict[str, Any]:
    """What a reader of a time needs to know about the machine; no name and no path."""
    import numpy
    import torch
    import torchvision

    from robust_tickets import __version__

    return {
        "robust_tickets": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": numpy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": threads,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _put(part: Path, text: str) -> None:
    part.write_text(text, encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
