"""Files that are written whole or not at all, and the one reader and writer of each text format."""

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_tickets.base.errors import InputError
from robust_tickets.base.file_systems import optional
from robust_tickets.base.thread_value import ThreadValue

if TYPE_CHECKING:
    import pandas as pd

_RUN_AGAIN = "remove its folder and run the stage again"
_MAY_BE_LOST = "the last files may be lost if the power fails"


_guard: ThreadValue[Callable[[], None]] = ThreadValue()


def guarded(check: Callable[[], None]) -> AbstractContextManager[None]:
    """Call `check` before each file that the block writes or removes; for this thread alone.

    For work that may have been given to somebody else meanwhile: it then raises, and nothing is changed.
    """
    return _guard.set_to(check)


def _check_guard() -> None:
    if _guard.value is not None:
        _guard.value()


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    _check_guard()
    path.unlink(missing_ok=True)


def write(path: Path, save: Callable[[Path], None]) -> None:
    """Let `save` write a temporary file beside `path`, then rename it: the file is whole or absent.

    Raises InputError where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise write_error(path, error) from None
    os.close(handle)
    part = Path(name)
    try:
        save(part)
        with part.open("rb+") as file, optional("sync files", _MAY_BE_LOST):
            os.fsync(file.fileno())
        # mkstemp makes files for their owner alone; results are meant to be read by others
        with optional("set permissions", "only you may be able to read the results"):
            part.chmod(0o666 & ~_umask())
        _check_guard()
        part.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise write_error(path, error) from None
    finally:
        part.unlink(missing_ok=True)


def write_error(path: Path, error: OSError) -> InputError:
    """The InputError for a file or folder that could not be written."""
    fix = "choose a folder that can be written"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fix = "make room on the disk, then run the same command again: it resumes"
    elif error.errno == errno.EIO:
        fix = "check the disk, then run the same command again: it resumes"
    elif path.is_dir():
        fix = "name a file in it"
    return InputError(f"cannot write {path}: {error.strerror or error}: {fix}")


def _flush(folder: Path) -> None:
    """Bring a folder's names to the disk, where the system can: a rename may be lost with the power."""
    if os.name == "posix":
        with optional("sync folders", _MAY_BE_LOST):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    # names of files that are no UTF-8 are written as \udc80 and so on
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file of these bytes, whole or not at all."""

    def save(part: Path) -> None:
        part.write_bytes(content)

    write(path, save)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_bytes(path: Path, fix: str = _RUN_AGAIN) -> bytes:
    """Read a file. Raises InputError, as `read_json` does, if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path} ({error}): {fix}") from None


def read_json(path: Path, fix: str = _RUN_AGAIN) -> Any:
    """Read a JSON file. Raises InputError, which ends with `fix`, if it is damaged or absent."""
    return _parse(path, json.loads, fix)


def read_object(path: Path, fix: str = _RUN_AGAIN, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Read a JSON object that has these keys. Raises InputError, as `read_json` does, for anything else."""
    value = read_json(path, fix)
    if not isinstance(value, dict):
        raise InputError(f"cannot read {path} (it holds no JSON object): {fix}")
    for key in keys:
        if key not in value:
            raise InputError(f"{path} lacks {key!r}: {fix}")
    return value


def write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, whole or not at all."""
    write_text(path, "".join(json.dumps(record) + "\n" for record in records))


def read_jsonl(path: Path, fix: str = _RUN_AGAIN) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line. Raises InputError, as `read_json` does."""
    records = _parse(path, lambda text: [json.loads(line) for line in text.splitlines()], fix)
    if not all(isinstance(record, dict) for record in records):
        raise InputError(f"cannot read {path} (a line of it is no JSON object): {fix}")
    return list(records)


def csv_text(table: "pd.DataFrame", digits: int | None = None) -> str:
    """A table as CSV, floats with so many significant digits; None: as many as they have."""
    return str(table.to_csv(index=False, float_format=digits and f"%.{digits}g"))


def read_csv(path: Path, texts: Iterable[str], fix: str = _RUN_AGAIN) -> "pd.DataFrame":
    """Read a CSV file; the columns in `texts` are text. Raises InputError, as `read_json` does."""
    return parse_csv(path, read_bytes(path, fix), texts, fix)


def parse_csv(path: Path, content: bytes, texts: Iterable[str], fix: str = _RUN_AGAIN) -> "pd.DataFrame":
    """The table in the content of a CSV file, as `read_csv` gives it."""
    import pandas as pd  # takes longer to import than a command without tables

    try:
        # empty cells alone are missing values, as a checkpoint may be called 1 or NA
        return pd.read_csv(
            BytesIO(content),
            dtype=dict.fromkeys(texts, str),
            keep_default_na=False,
            na_values=[""],
            encoding="utf-8-sig",
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot read {path} ({reason}): {fix}") from None


def _parse(path: Path, parse: Callable[[str], Any], fix: str) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path} ({error}): {fix}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
