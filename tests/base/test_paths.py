"""Paths as users write them: ~, and modules by the path of their file."""

import sys
from pathlib import Path

import pytest

from robust_tickets.base.arguments import to_path
from robust_tickets.base.errors import InputError
from robust_tickets.base.paths import cache_folder, expand_home, follow_links, module_name
from robust_tickets.cli.parse import parse
from robust_tickets.data import cache
from robust_tickets.data.data_paths import data_path
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Data
from robust_tickets.stages.load_checkpoint import NetDescription

COMMANDS = {
    "runs": "train --recipe demo --runs=~/x",
    "root": "train --recipe ~/own.toml --data.root ~/x",
    "ticket": "train --recipe=~/own.toml --ticket=~/x",
    "checkpoint": "evaluate ~/x",
    "source": "evaluate a --from ~/x",
    "save_images": "evaluate a --save-images=~/x",
    "out": "export a --out=~/x",
    "path": "table ~/x",
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.toml").write_text("[train]\nepochs = 3\n")
    return tmp_path


@pytest.mark.parametrize("field", COMMANDS)
def test_every_path_of_the_command_line_expands_the_home_folder(field, home):
    name, *words = COMMANDS[field].split()
    command = parse(name, words)
    value = command.fields.data.root if field == "root" else getattr(command, field)
    (first,) = value if isinstance(value, tuple) else (value,)
    assert getattr(first, "path", first) == home / "x"
    if "own.toml" in COMMANDS[field]:
        assert command.fields.train.epochs == 3


def test_variables_recipes_and_arguments_of_functions_expand_it_too(home, monkeypatch):
    (home / "images").mkdir()
    monkeypatch.setenv("ROBUST_TICKETS_FOLDER", "~/images")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/cache")
    assert data_path(Data("folder")) == home / "images"
    assert cache_folder() == home / "cache" / "robust-tickets"
    assert to_path("runs", "~/x") == home / "x"
    assert recipes.load("~/own.toml").train.epochs == 3


def test_without_a_home_folder_only_what_needs_one_is_refused(monkeypatch):
    def nothing(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nothing)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(InputError, match="set HOME"):
        expand_home("~/x")
    with pytest.raises(InputError, match="set XDG_CACHE_HOME"):
        cache_folder()
    lines = []
    assert cache.load_or_decode("a", Path(__file__), dict, lines.append) == {}
    assert "not cached" in lines[0]


def test_a_module_may_be_named_by_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "nets_of_mine.py").touch()
    assert module_name("deep/nets_of_mine.py:build") == "nets_of_mine:build"
    assert str(tmp_path / "deep") in sys.path
    assert module_name("nets:build") == "nets:build"
    assert module_name("resnet20") == "resnet20"
    words = ["--recipe", "demo", "--model.width", "1", "--model.name", "deep/nets_of_mine.py:build"]
    command = parse("train", words)
    assert command.fields.model.name == "nets_of_mine:build"
    assert NetDescription("deep/nets_of_mine.py:build").name == "nets_of_mine:build"  # of evaluate and export
    (tmp_path / "own.toml").write_text('[model]\nname = "deep/nets_of_mine.py:build"\n')
    assert recipes.load("own.toml").model.name == "nets_of_mine:build"


@pytest.mark.parametrize(
    ("file", "words"),
    [("away.py", "is not there"), ("my-nets.py", "call it something like"), ("json.py", "another module")],
)
def test_a_file_that_cannot_be_imported_is_refused_with_the_reason(file, words, tmp_path):
    for name in ("my-nets.py", "json.py"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=words):
        module_name(f"{tmp_path / file}:build")


def test_links_in_a_circle_are_one_line_and_others_are_followed(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match=r"cannot be followed .*: give another path"):
        follow_links(tmp_path / "a" / "runs")
    (tmp_path / "c").symlink_to(tmp_path / "real")
    assert follow_links(tmp_path / "c" / "x") == tmp_path / "real" / "x"


def test_a_user_that_is_not_known_is_named_but_for_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no user 'backup-of-nobody': check it, or give the whole path"):
        expand_home("~backup-of-nobody/x")
    (tmp_path / "~backup-of-nobody").mkdir()
    assert expand_home("~backup-of-nobody/x") == Path("~backup-of-nobody/x")
