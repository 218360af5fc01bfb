"""A file is whole or absent, and a damaged one is named."""

import errno
import os
import posix
import resource
import stat
import tempfile

import pandas as pd
import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.runs import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_each_format_reads_back_equal(tmp_path):
    file = tmp_path / "a" / "b" / "file"
    files.write_text(file, "ε = 8/255\nend\n")
    assert file.read_bytes() == "ε = 8/255\nend\n".encode()
    files.write_json(file, {"ε": [1, 2.5, None]})
    assert files.read_json(file) == {"ε": [1, 2.5, None]}
    records = [{"epoch": 1, "loss": 0.1}, {}]
    files.write_jsonl(file, records)
    assert files.read_jsonl(file) == records
    assert names(file.parent) == ["file"]


def test_a_table_reads_back_equal_as_csv(tmp_path):
    table = pd.DataFrame({"name": ["1", "NA", "a,b"], "x": [0.1, float("nan"), 1 / 3]})
    files.write_text(tmp_path / "table.csv", files.csv_text(table))
    assert files.read_csv(tmp_path / "table.csv", ["name"]).equals(table)
    assert files.csv_text(table, 3).splitlines()[-1] == '"a,b",0.333'


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error, old):
    file = tmp_path / "file"
    if old is not None:
        file.write_bytes(old)

    def save(part):
        part.write_bytes(b"half of the n")
        assert not file.exists() or file.read_bytes() == old, "nothing is seen before it is whole"
        raise error("stopped")

    with pytest.raises(InputError if error is OSError else error):
        files.write(file, save)
    assert names(tmp_path) == ([] if old is None else ["file"])
    assert old is None or file.read_bytes() == old


def test_a_full_disk_leaves_the_old_file(tmp_path):
    file = tmp_path / "file"
    files.write_text(file, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # bytes
    try:
        with pytest.raises(InputError, match="cannot write"):
            files.write_text(file, "n" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["file"]
    assert file.read_text() == "old"


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_afterwards(tmp_path, monkeypatch):
    synced = []

    def sync(handle):
        posix.fsync(handle)  # which no other test waits for, see conftest.py
        synced.append((stat.S_ISDIR(os.fstat(handle).st_mode), names(tmp_path) == ["file"]))

    monkeypatch.setattr(os, "fsync", sync)
    files.write_text(tmp_path / "file", "text")
    assert synced == [(False, False), (True, True)]


FIXES = {
    errno.ENOSPC: "make room on the disk, then run the same command again",
    errno.EDQUOT: "make room on the disk, then run the same command again",
    errno.EIO: "check the disk, then run the same command again",
    errno.EROFS: "choose a folder that can be written",
}


def test_a_folder_in_the_place_of_a_file_is_said_to_be_one(tmp_path):
    with pytest.raises(InputError, match=rf"cannot write {tmp_path}: .*: name a file in it"):
        files.write_text(tmp_path, "text")


@pytest.mark.parametrize("number", FIXES, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["mkstemp", "fsync"])
def test_each_failure_to_write_has_its_fix_in_the_message(number, call, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr({"mkstemp": tempfile, "fsync": os}[call], call, fail)
    with pytest.raises(InputError) as caught:
        files.write_text(tmp_path / "file", "text")
    assert str(caught.value).startswith(f"cannot write {tmp_path / 'file'}: {os.strerror(number)}: ")
    assert FIXES[number] in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        files.write_text(tmp_path / "ours", "")
        (tmp_path / "plain").write_text("")
    finally:
        assert os.umask(before) == mask, "the process keeps its own mask"
    ours, plain = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain"))
    assert ours == plain == 0o666 & ~mask


@pytest.mark.parametrize("below", ["file", "a/b/c/file"])
def test_a_file_in_place_of_the_folder_is_named(tmp_path, below):
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(InputError, match=f"runs/{below}"):
        files.write_text(tmp_path / "runs" / below, "text")
    assert (tmp_path / "runs").read_text() == "in the way"


def test_a_folder_in_place_of_the_file_is_named_and_left_alone(tmp_path):
    (tmp_path / "target" / "inner").mkdir(parents=True)
    with pytest.raises(InputError, match="target"):
        files.write_text(tmp_path / "target", "text")
    assert names(tmp_path) == ["target"]
    assert names(tmp_path / "target") == ["inner"]


DAMAGED = {
    "absent": None,
    "cut": b'{"a": 1',
    "no text": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "no object": b'{"a": 1}\n[2]',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("read", [files.read_json, files.read_object, files.read_jsonl])
def test_a_damaged_or_absent_file_is_named_with_the_fix(tmp_path, read, content):
    file = tmp_path / "ledger.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*ledger\.json .*: mend it"):
        read(file, "mend it")


def test_a_missing_key_is_named(tmp_path):
    files.write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(InputError, match=r"a\.json lacks 'y': mend it"):
        files.read_object(tmp_path / "a.json", "mend it", ("x", "y"))


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b'"open'])
def test_a_damaged_table_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*a\.csv .*: mend it"):
        files.read_csv(tmp_path / "a.csv", [], "mend it")
