"""Help and mistakes answer at once: torch and its like come with the first command that needs them."""

import re
import subprocess
import sys

import pytest

from robust_tickets import __version__
from robust_tickets.recipe import recipe as recipes

HEAVY = ("torch", "torchvision", "pandas", "matplotlib", "sklearn", "scipy", "PIL")
COMMANDS = ("search", "train", "evaluate", "compare", "study", "table", "recipes")


@pytest.fixture
def call(tmp_path):
    """Run the program in a process and a folder of its own: status, stdout, stderr, modules imported."""

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "robust_tickets", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        lines = done.stderr.splitlines()
        imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
        rest = "\n".join(line for line in lines if not line.startswith("import time:"))
        assert "robust_tickets" in imported
        assert not imported & set(HEAVY)
        assert not list(tmp_path.iterdir())
        return done.returncode, done.stdout, rest

    return run


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]], ids=str)
def test_help_lists_every_command_and_where_to_start(call, words):
    status, out, err = call(*words)
    assert (status, err) == (0, "")
    assert all(re.search(rf"^ +{name} +[A-Z]", out, re.MULTILINE) for name in COMMANDS)
    assert "robust-tickets compare --recipe demo" in out


def test_the_version_is_the_packages(call):
    assert call("--version") == (0, f"robust-tickets {__version__}\n", "")


def test_recipes_lists_every_shipped_recipe_with_its_summary(call):
    status, out, err = call("recipes")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == recipes.shipped_names()
    assert all(recipes.load(name).summary in out for name in recipes.shipped_names())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_goes_to_stdout(call, name):
    status, out, err = call(name, "--help")
    assert (status, err) == (0, "")
    assert f"robust-tickets {name}" in out


def test_help_of_a_command_shows_the_recipes_own_defaults(call):
    _, out, _ = call("search", "--recipe", "demo", "--help", "all")
    shown = " ".join(out.split())
    for option, value in (
        ("search.lr X", "0.02"),
        ("search.rounds N", "2"),
        ("threat.eps EPS", "0.1"),
        ("train.pgd.steps N", "5"),
    ):
        assert re.search(rf"--{re.escape(option)} .*?\(default: {re.escape(value)}\)", shown), option


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("serach --recipe demo", "did you mean 'search'"),
        ("search", "--recipe"),
        ("search --recipe dmeo", "did you mean 'demo'"),
        ("search --recipe demo --search.lr -1", "search.lr must be above 0"),
        ("search --recipe demo --search.lrr 1", "--search.lr"),
    ],
)
def test_a_mistake_goes_to_stderr_with_status_two(call, words, expected):
    status, out, err = call(*words.split())
    assert (status, out) == (2, "")
    assert expected in err
    assert "Traceback" not in err


def test_importing_the_package_is_light():
    code = f"import sys, robust_tickets.cli.main; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_torchattacks_and_its_old_requests_come_with_the_first_attack_of_it():
    modules = (
        "robust_tickets.api, robust_tickets.cli.main, robust_tickets.comparison.compare, "
        "robust_tickets.report.write, attacks.pgd"
    )
    foreign = ("torchattacks", "requests", "urllib3")
    code = f"import sys, {modules}; print(sorted(set(sys.modules) & set({foreign!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_attack_of_torchattacks_opens_a_socket():
    """So that the advisories on the old releases that it pins concern nobody here."""
    code = (
        "import socket, torch\n"
        "def shut(*_, **__): raise SystemExit('a socket was opened')\n"
        "socket.socket.__init__ = shut\n"
        "socket.getaddrinfo = socket.create_connection = shut\n"
        "from attacks import InputError, ThreatModel, TorchAttack\n"
        "from attacks.third_party import quiet\n"
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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
