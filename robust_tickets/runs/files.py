"""Files that are written whole or not at all, and JSON files that are read with a clear message."""

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from robust_tickets.base.errors import InputError


def write(path: Path, save: Callable[[Path], None]) -> None:
    """Let `save` write a temporary file beside `path`, then put it in place: whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise write_error(path, error) from None
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
        raise write_error(path, error) from None
    finally:
        part.unlink(missing_ok=True)


def write_error(path: Path, error: OSError) -> InputError:
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


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line."""
    write_text(path, "".join(json.dumps(record) + "\n" for record in records))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
