"""Run directories: a file appears whole or not at all, and the description of a run stays."""

import errno
import os
import platform
import resource
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Data
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs import files
from robust_tickets.runs.directory import RunDirectory


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def full_disk(room):
    """No file of this process may grow beyond `room` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_what_was_written_is_what_is_read(tmp_path):
    file = tmp_path / "a" / "b" / "text"
    files.write_text(file, "ε = 8/255\nend\n")
    assert file.read_bytes() == "ε = 8/255\nend\n".encode()
    files.write_json(file, {"ε": [1, 2.5, None]})
    assert files.read_json(file) == {"ε": [1, 2.5, None]}
    assert names(file.parent) == ["text"]


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failing_save_leaves_what_was_there_and_nothing_else(tmp_path, error, old):
    file = tmp_path / "file"
    if old is not None:
        file.write_bytes(old)

    def save(part):
        part.write_bytes(b"half of the n")
        assert not file.exists() or file.read_bytes() == old  # nothing shows before it is whole
        raise error("stopped")

    with pytest.raises(InputError if error is OSError else error):
        files.write(file, save)
    assert names(tmp_path) == ([] if old is None else ["file"])
    assert old is None or file.read_bytes() == old


def test_a_full_disk_leaves_the_old_file_and_is_said(tmp_path):
    file = tmp_path / "file"
    files.write_text(file, "old")
    with full_disk(4096), pytest.raises(InputError, match="cannot write"):
        files.write_text(file, "n" * 100_000)
    assert names(tmp_path) == ["file"]
    assert file.read_text() == "old"


MENDS = {
    errno.ENOSPC: "make room on the disk, then run the same command again",
    errno.EDQUOT: "make room on the disk, then run the same command again",
    errno.EIO: "check the disk, then run the same command again",
    errno.EROFS: "choose a folder that can be written",
}


@pytest.mark.parametrize("number", MENDS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["mkstemp", "fsync"])
def test_each_failure_to_write_says_how_to_go_on(number, call, tmp_path, monkeypatch):
    def failing(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr({"mkstemp": tempfile, "fsync": os}[call], call, failing)
    with pytest.raises(InputError) as caught:
        files.write_text(tmp_path / "file", "text")
    assert str(caught.value).startswith(f"cannot write {tmp_path / 'file'}: {os.strerror(number)}: ")
    assert MENDS[number] in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_new_file_has_the_permissions_that_any_new_file_has(tmp_path, mask):
    with umask(mask):
        files.write_text(tmp_path / "ours", "")
        (tmp_path / "plain").write_text("")
        assert os.umask(mask) == mask  # and the process keeps its own
    ours, plain = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain"))
    assert ours == plain == 0o666 & ~mask


@pytest.mark.parametrize("below", ["file", "folder/file", "a/b/c/file"])
def test_a_file_in_place_of_the_folder_is_said(tmp_path, below):
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(InputError) as caught:
        files.write_text(tmp_path / "runs" / below, "text")
    assert str(tmp_path / "runs" / below) in str(caught.value)
    assert (tmp_path / "runs").read_text() == "in the way"


def test_a_folder_in_place_of_the_file_is_said_and_left_alone(tmp_path):
    (tmp_path / "target" / "inner").mkdir(parents=True)
    with pytest.raises(InputError, match="target"):
        files.write_text(tmp_path / "target", "text")
    assert names(tmp_path) == ["target"]
    assert names(tmp_path / "target") == ["inner"]


@pytest.mark.parametrize("content", [None, b"", b'{"a": 1', b"\xff\xfe"])
def test_a_damaged_or_absent_json_file_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "ledger.json").write_bytes(content)
    with pytest.raises(InputError, match=r"ledger\.json"):
        files.read_json(tmp_path / "ledger.json")


def test_the_folder_is_named_by_recipe_and_identity_and_not_made_before_it_begins(tmp_path):
    demo = recipes.load("demo")
    run = RunDirectory.of(tmp_path / "runs", demo)
    assert run.path == tmp_path / "runs" / f"demo-{demo.identity}"
    assert run.arm(3, "dense").path == run.path / "seed-3" / "dense"
    assert not (tmp_path / "runs").exists()


def test_a_run_that_began_opens_with_its_recipe(tmp_path):
    demo = replace(recipes.load("demo"), data=Data(val_images=100, root=Path("/home/somebody")))
    run = RunDirectory.of(tmp_path, demo)
    run.begin("cpu", {})
    opened = RunDirectory.open(run.path)
    assert opened.recipe.identity == demo.identity
    assert opened.recipe == replace(demo, summary="", data=Data(val_images=100))


def test_no_path_and_no_host_is_written_and_the_machine_is(tmp_path):
    run = RunDirectory.of(tmp_path, Recipe(data=Data(root=Path("/home/somebody"))))
    run.begin("cpu", {})
    text = "".join(path.read_text() for path in run.path.iterdir())
    assert "somebody" not in text
    assert str(tmp_path) not in text
    assert not platform.node() or f'"{platform.node()}"' not in text
    env = files.read_json(run.path / "env.json")
    assert env["threads"] == Recipe().compute.threads
    assert {"torch", "python", "cpu", "cores", "gpu", "robust_tickets"} <= set(env)


def test_beginning_again_keeps_the_description(tmp_path):
    run = RunDirectory.of(tmp_path, Recipe())
    run.begin("cpu", {})
    for file in ("recipe.toml", "env.json"):
        (run.path / file).write_text("as it was")
    run.begin("cpu", {})
    assert [(run.path / file).read_text() for file in ("recipe.toml", "env.json")] == ["as it was"] * 2


def test_seeds_are_those_with_a_folder_in_order(tmp_path):
    run = RunDirectory(tmp_path, Recipe())
    assert run.seeds() == []
    for name in ("seed-10", "seed-2", "seed-0", "seed-x", "seed-", "seeds-4", "seed-1-old"):
        (tmp_path / name).mkdir()
    (tmp_path / "seed-7").write_text("a file")
    assert run.seeds() == [0, 2, 10]


@pytest.mark.parametrize("content", [None, "[search", "[search]\nlrr = 1\n", "[search]\nepochs = 0\n"])
def test_what_is_no_run_directory_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "recipe.toml").write_text(content)
    with pytest.raises(InputError, match=str(tmp_path)):
        RunDirectory.open(tmp_path)


@pytest.mark.parametrize("key", ["device", "cpu", "vectors", "gpu", "torch"])
def test_a_run_begun_on_another_machine_is_not_gone_on_with(tmp_path, key):
    run = RunDirectory.of(tmp_path, Recipe())
    run.check_machine("cpu")
    run.begin("cpu", {})
    run.check_machine("cpu")
    env = files.read_json(run.path / "env.json")
    files.write_json(run.path / "env.json", {**env, key: "something else"})
    with pytest.raises(InputError, match=f"began on a machine with {key} something else.*--runs"):
        run.check_machine("cpu")
