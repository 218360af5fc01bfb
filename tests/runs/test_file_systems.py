"""What file systems refuse: luxuries are gone without, and said once; a full disk is an error."""

import errno
import fcntl
import os
import stat

import pytest

from robust_tickets.base import file_systems
from robust_tickets.base.errors import InputError
from robust_tickets.recipe import recipe as recipes
from robust_tickets.runs import files, locks


@pytest.fixture
def notes(monkeypatch):
    """The notes of the test, which are empty at its start."""
    lines = set()
    monkeypatch.setattr(file_systems, "_notes", lines)
    return lines


def refuse(monkeypatch, module, name, error, condition=lambda *args: True):
    real = getattr(module, name)

    def call(*args, **kwargs):
        if condition(*args):
            raise OSError(error, os.strerror(error))
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, call)


def is_folder(handle):
    return stat.S_ISDIR(os.fstat(handle).st_mode)


LUXURIES = {
    "sync folders": ("fsync", is_folder),
    "sync files": ("fsync", lambda handle: not is_folder(handle)),
    "set permissions": ("chmod", lambda *args: True),
}


@pytest.mark.parametrize("error", ["EINVAL", "ENOTSUP", "EPERM", "ENOSYS", "EACCES"])
@pytest.mark.parametrize("luxury", LUXURIES)
def test_luxuries_of_file_systems_are_gone_without_and_said_once(
    luxury, error, notes, tmp_path, monkeypatch, capsys
):
    name, condition = LUXURIES[luxury]
    refuse(monkeypatch, os, name, getattr(errno, error), condition)
    for number in range(3):
        files.write_text(tmp_path / f"{number}.txt", "whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0.txt", "1.txt", "2.txt"]
    assert (tmp_path / "2.txt").read_text() == "whole"
    assert capsys.readouterr().err.count(f"the file system cannot {luxury}") == 1


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EDQUOT"])
def test_a_disk_that_fails_is_an_error(error, notes, tmp_path, monkeypatch):
    refuse(monkeypatch, os, "fsync", getattr(errno, error))
    with pytest.raises(InputError, match="cannot write"):
        files.write_text(tmp_path / "file", "text")
    assert not notes
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", ["ENOLCK", "ENOTSUP", "EINVAL"])
def test_without_locks_a_run_goes_on_and_removes_no_unfinished_file_of_another(
    error, notes, tmp_path, monkeypatch, capsys
):
    refuse(monkeypatch, fcntl, "flock", getattr(errno, error))
    (tmp_path / ".x.part").touch()
    for _ in range(2):
        with locks.lock(tmp_path), locks.lock(tmp_path):
            files.write_text(tmp_path / "file", "text")
    assert (tmp_path / ".x.part").is_file()
    assert capsys.readouterr().err.count("cannot lock files (") == 1
    with pytest.raises(ZeroDivisionError), locks.lock(tmp_path / "new"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()


def test_where_the_system_has_no_locks_a_file_is_one(notes, tmp_path, monkeypatch, recwarn):
    refuse(monkeypatch, fcntl, "flock", errno.ENOSYS)
    with locks.lock(tmp_path):
        files.write_text(tmp_path / "file", "text")
    assert not recwarn.list


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path):
    mark = "\ufeff"
    (tmp_path / "own.toml").write_text(mark + "[train]\nepochs = 3\n", encoding="utf-8")
    (tmp_path / "a.json").write_text(mark + "[1]", encoding="utf-8")
    (tmp_path / "a.csv").write_text(mark + "name,n\r\n1,2\r\n", encoding="utf-8")
    assert recipes.load(str(tmp_path / "own.toml")).train.epochs == 3
    assert files.read_json(tmp_path / "a.json") == [1]
    assert files.read_csv(tmp_path / "a.csv", ["name"]).to_dict("list") == {"name": ["1"], "n": [2]}


def test_names_that_are_no_text_can_be_written(tmp_path):
    files.write_text(tmp_path / "a.txt", "class caf\udce9")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "class caf\\udce9"
