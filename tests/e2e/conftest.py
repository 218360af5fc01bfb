"""Wrong calls, run as a person would."""

import importlib
import os
import re

import pytest
import torch

from robust_tickets.cli.main import main


@pytest.fixture
def no_work(monkeypatch):
    """Whoever gets as far as training or attacking has noticed nothing."""

    def begun(*arguments, **options):
        raise AssertionError("the work began")

    for module in ("stages.train", "tickets.search", "comparison.estimate"):
        monkeypatch.setattr(importlib.import_module(f"robust_tickets.{module}"), "fit", begun)
    monkeypatch.setattr("robust_tickets.evaluation.evaluate.evaluate", begun)


@pytest.fixture
def call(no_work, tmp_path, monkeypatch, capsys):
    """Run a wrong call; gives what it says, in one line and without frames."""
    for variable in [name for name in os.environ if name.startswith("ROBUST_TICKETS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    random = torch.get_rng_state()

    def run(*words):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        out, err = capsys.readouterr()
        assert stopped.value.code == 2
        assert out == ""
        assert "Traceback" not in err
        assert torch.equal(torch.get_rng_state(), random)
        return " ".join(re.sub(r"[│╭╮╰╯─\s]+", " ", err).split())

    return run
