"""A folder may have an `attacks.py` of its own, as many repositories on robustness have: it stays."""

import subprocess
import sys

OWN_ATTACKS = "def pgd(): return 'mine'\n"
SCRIPT = """
import attacks as mine
import robust_tickets as rt
import robust_tickets.attacks as attacks

assert rt.attacks is attacks and attacks is not mine
assert attacks.PGD(attacks.ThreatModel("Linf", 0.1), steps=2).steps == 2
assert mine.pgd() == "mine" and not hasattr(mine, "PGD")
rt.train
"""
NETS = """
from attacks import pgd
from torch import nn

assert pgd() == "mine"

def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


def test_a_script_beside_it_has_both(tmp_path):
    (tmp_path / "attacks.py").write_text(OWN_ATTACKS)
    (tmp_path / "script.py").write_text(SCRIPT)
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True)


def test_a_network_beside_it_imports_the_user_s(tmp_path):
    (tmp_path / "attacks.py").write_text(OWN_ATTACKS)
    (tmp_path / "my_nets.py").write_text(NETS)
    words = "train --recipe demo --model.name my_nets:build --train.epochs 1 --train.pgd.steps 1"
    words += " --data.train-images 128 --evaluate.images 20 --runs runs"
    subprocess.run([sys.executable, "-m", "robust_tickets", *words.split()], cwd=tmp_path, check=True)
    assert list(tmp_path.glob("runs/*/seed-0/dense/last.safetensors"))


def test_attacks_import_nothing_else_of_the_package_but_its_version():
    code = (
        "import sys; from robust_tickets.attacks import PGD, APGD, Square, TorchAttack; "
        "print(*[name for name in sys.modules if name.startswith('robust_tickets.')])"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    others = {name for name in output.split() if not name.startswith("robust_tickets.attacks")}
    assert others <= {"robust_tickets.base", "robust_tickets.base.version"}
