"""Help and mistakes need no torch; torchattacks comes with its first attack and opens no socket."""

import re
import subprocess
import sys

import pytest

from robust_tickets import __version__
from robust_tickets.recipe import recipe as recipes

HEAVY = ("torch", "torchvision", "pandas", "matplotlib", "sklearn", "scipy", "PIL")
COMMANDS = ("search", "train", "evaluate", "compare", "study", "table", "recipes")


def run_python(*arguments, cwd=None):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd)


@pytest.fixture
def call(tmp_path):
    """Run the program in a process without heavy imports: gives status, stdout and stderr."""

    def run(words):
        process = run_python("-X", "importtime", "-m", "robust_tickets", *words.split(), cwd=tmp_path)
        lines = process.stderr.splitlines()
        imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
        err = [line for line in lines if not line.startswith("import time:")]
        assert "robust_tickets" in imported
        assert not imported & set(HEAVY)
        assert not list(tmp_path.iterdir())
        return process.returncode, process.stdout, "\n".join(err)

    return run


@pytest.mark.parametrize("words", ["", "--help"])
def test_help_lists_every_command_and_where_to_start(call, words):
    status, out, err = call(words)
    assert (status, err) == (0, "")
    assert all(re.search(rf"^ +{name} +[A-Z]", out, re.MULTILINE) for name in COMMANDS)
    assert "robust-tickets compare --recipe demo" in out


def test_the_version_and_the_recipes_with_their_summaries_are_shown(call):
    assert call("--version") == (0, f"robust-tickets {__version__}\n", "")
    status, out, err = call("recipes")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == recipes.shipped_names()
    assert all(recipes.load(name).summary in out for name in recipes.shipped_names())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_goes_to_stdout(call, name):
    status, out, err = call(f"{name} --help")
    assert (status, err) == (0, "")
    assert f"robust-tickets {name}" in out


def test_help_shows_the_defaults_of_the_recipe(call):
    text = " ".join(call("search --recipe demo --help all")[1].split())
    for option, value in (("search.lr X", "0.02"), ("threat.eps EPS", "0.1"), ("train.pgd.steps N", "5")):
        assert re.search(rf"--{re.escape(option)} .*?\(default: {re.escape(value)}\)", text), option


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("serach --recipe demo", "'search'"),
        ("search --recipe demo --search.lr -1", "search.lr must be above 0"),
        ("search --recipe demo --search.lrr 1", "--search.lr"),
    ],
)
def test_a_mistake_goes_to_stderr_with_status_two(call, words, part):
    status, out, err = call(words)
    assert (status, out) == (2, "")
    assert part in err
    assert "Traceback" not in err


def test_torchattacks_is_imported_by_its_first_attack():
    modules = (
        "robust_tickets.api, robust_tickets.comparison.compare, robust_tickets.report.write, attacks.pgd"
    )
    foreign = ("torchattacks", "requests", "urllib3")
    code = f"import sys, {modules}; print(sorted(set(sys.modules) & set({foreign!r})))"
    assert run_python("-c", code).stdout.strip() == "[]"


@pytest.mark.slow
def test_no_attack_of_torchattacks_opens_a_socket():
    """So that advisories on the old releases that it requires do not matter here."""
    code = (
        "import socket, torch\n"
        "def refuse(*_, **__): raise SystemExit('a socket was opened')\n"
        "socket.socket.__init__ = refuse\n"
        "socket.getaddrinfo = socket.create_connection = refuse\n"
        "from robust_tickets.attacks import InputError, ThreatModel, TorchAttack\n"
        "from robust_tickets.attacks.third_party import quiet\n"
        "with quiet(): import torchattacks\n"
        "net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))\n"
        "images, run = torch.rand(2, 3, 8, 8), 0\n"
        "for name in sorted(vars(torchattacks)):\n"
        "    for norm in ('Linf', 'L2'):\n"
        "        try:\n"
        "            attack = TorchAttack(ThreatModel(norm, 0.1), name)\n"
        "            attack.run(net, images, torch.zeros(2, dtype=torch.int64))\n"
        "            run += 1\n"
        "        except (ValueError, NotImplementedError):\n"
        "            pass\n"
        "print(run)\n"
    )
    process = run_python("-c", code)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) > 10
