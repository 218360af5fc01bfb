"""Spinning of idle OpenMP threads is bounded before torch is loaded, unless the user has chosen."""

import os
import subprocess
import sys

import pytest

from robust_tickets.base.idle_threads import no_spinning_in_children

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
USERS = [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"KMP_BLOCKTIME": "1"}]


def variables() -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES if name in os.environ}


@pytest.mark.parametrize("users", [{}, *USERS], ids=str)
def test_the_command_line_bounds_spinning_before_torch_is_loaded(users, tmp_path):
    code = (
        "import os, sys; from robust_tickets.cli.main import main; main(['--version']); "
        f"print({{n: os.environ[n] for n in {NAMES} if n in os.environ}}, 'torch' in sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in NAMES} | users
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    expected = users or {"GOMP_SPINCOUNT": "10000"}
    assert process.stdout.splitlines()[1:] == [f"{expected} False"], process.stderr


@pytest.mark.parametrize("before", [{}, {"GOMP_SPINCOUNT": "10000"}, *USERS], ids=str)
def test_threads_of_children_sleep_at_once_unless_the_user_has_chosen(before, monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    with no_spinning_in_children():
        assert variables() == (before if before in USERS else {"OMP_WAIT_POLICY": "PASSIVE"})
    assert variables() == before
