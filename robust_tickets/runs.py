"""Run directories: where a stage's artefacts lie, and how they get there whole."""

import errno
import json
import os
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
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

    def check(self, device: str) -> None:
        """Raise InputError if the run was begun on another machine: their seconds cannot be compared."""
        file = self.path / "env.json"
        if not file.exists():
            return
        begun, now = read_object(file, "remove that file"), machine(device, self.recipe.compute.threads)
        for key in ("device", "cpu", "vectors", "gpu", "torch"):
            if key in begun and begun[key] != now[key]:
                raise InputError(
                    f"{self.path} was begun with {key} {begun[key]}, this is {now[key]}; their seconds "
                    "cannot stand in one table: choose another folder by --runs"
                )

    def check_inputs(self, inputs: Mapping[str, str]) -> None:
        """Raise InputError if the run was begun with others: images, or a net of the user's own.

        `inputs` has a fingerprint for each; what was not there before is right.
        """
        begun = self._inputs()
        for name, found in inputs.items():
            if begun.get(name, found) != found:
                raise InputError(
                    f"{self.path} was begun with other {name} than this ({begun[name]}, not {found}): give "
                    "the same ones (--data.root, --model.name), or choose another folder by --runs"
                )
            twin = next((other for other, print_ in begun.items() if print_ == found and other != name), None)
            if twin is not None:
                raise InputError(
                    f"the {name} is bit for bit the {twin}, and several seeds need several inits: let the "
                    "function draw its weights from PyTorch's generator, or give model.init glorot-normal"
                )

    def begin(self, device: str, inputs: Mapping[str, str]) -> None:
        """Write what describes the run: recipe, machine, inputs. An existing description stays."""
        if not (self.path / "recipe.toml").exists():
            write_text(self.path / "recipe.toml", recipes.dumps(self.recipe))
        if not (self.path / "env.json").exists():
            write_json(self.path / "env.json", machine(device, self.recipe.compute.threads))
        begun = self._inputs()
        if not inputs.items() <= begun.items():
            write_json(self.path / "inputs.json", {**inputs, **begun})

    def _inputs(self) -> dict[str, str]:
        file = self.path / "inputs.json"
        return read_object(file, "remove that file") if file.exists() else {}


def write(path: Path, save: Callable[[Path], None]) -> None:
    """Let `save` write a temporary file beside `path`, then put it in place: whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise unwritten(path, error) from None
    os.close(handle)
    part = Path(name)
    try:
        save(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes files for their owner alone; results are meant to be read by others
        part.chmod(0o666 & ~_umask())
        part.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise unwritten(path, error) from None
    finally:
        part.unlink(missing_ok=True)


def unwritten(path: Path, error: OSError) -> InputError:
    """What to say where a file or folder could not be written."""
    mend = "choose a folder that can be written (--runs, --out)"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        mend = "make room there and give the same command again, which goes on from what is kept"
    elif error.errno == errno.EIO:
        mend = "look at the disk, then give the same command again, which goes on from what is kept"
    return InputError(f"cannot write {path}: {error.strerror or error}: {mend}")


def _flush(folder: Path) -> None:
    """Bring a folder's names to the disk, where the system can: a rename may be lost with the power."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """A file of these bytes, whole or not at all."""

    def save(part: Path) -> None:
        part.write_bytes(content)

    write(path, save)


def write_json(path: Path, table: Any) -> None:
    """A JSON file, whole or not at all."""
    write_text(path, json.dumps(table, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path, mend: str = "remove its folder and run the stage again") -> Any:
    """A JSON file of ours. Raises InputError, which says how to mend it, if it is damaged or absent."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path} ({error}): {mend}") from None


def read_object(path: Path, mend: str, keys: Sequence[str] = ()) -> dict[str, Any]:
    """A JSON object that has these keys. Raises InputError, as `read_json` does, for anything else."""
    found = read_json(path, mend)
    if not isinstance(found, dict):
        raise InputError(f"cannot read {path} (it holds no table): {mend}")
    for key in keys:
        if key not in found:
            raise InputError(f"{path} lacks {key!r}: {mend}")
    return found


def machine(device: str, threads: int) -> dict[str, Any]:
    """What a reader of a time needs to know about the machine that ran on `device`; no name and no path."""
    import numpy
    import torch
    import torchvision

    from robust_tickets.version import __version__

    return {
        "robust_tickets": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": numpy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "vectors": torch.backends.cpu.get_cpu_capability(),  # processors of one name may differ in them
        "cores": os.cpu_count(),
        "threads": threads,
        "device": device.partition(":")[0],
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
