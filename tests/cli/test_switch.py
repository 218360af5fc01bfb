"""The command `switch`: two checkpoints, their table, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from robust_tickets.cli.main import main
from robust_tickets.training.checkpoint import Checkpoint

COMMON = (
    "--recipe demo --model.name lenet-300-100 --model.width 0.1 --compute.threads 1 --data.train-images 512"
    " --train.method natural --train.epochs 10 --train.lr 0.05 --evaluate.val-steps 1 --threat.eps 0.05"
)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    files = []
    for seed in (0, 1):
        runs = tmp_path_factory.mktemp(f"runs-{seed}")
        main(f"train {COMMON} --seed {seed} --runs {runs}".split())
        files += runs.rglob("last.safetensors")
    return [str(file) for file in files]


def test_the_table_says_what_a_randomised_network_withstands(checkpoints, capsys):
    main(["switch", *checkpoints, "--limit", "100", "--attacks", "pgd-20", "fgsm"])
    output = capsys.readouterr().out
    assert "A randomised network" in output
    file = output.split()[-1]
    rows = pd.read_csv(file, keep_default_na=False).set_index("attacked").accuracy
    assert list(rows.index) == [
        "", "the network drawn", "another network", "the average (EOT)", "whichever is worst",
    ]  # fmt: skip
    assert rows.iloc[0] > rows["another network"] >= rows["whichever is worst"] >= rows["the network drawn"]
    assert f"| whichever is worst | {100 * rows['whichever is worst']:.1f} |" in output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda files: files[:1], "name two checkpoints or more"),
        (lambda files: [files[0], files[0]], "is named twice"),
        (lambda files: [*files, "--limit", "100000"], "choose fewer"),
        (lambda files: [*files, "--attacks", "pgdd"], "pgdd"),
        (lambda files: [files[0], "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_wrong_calls_are_one_line(checkpoints, change, words, capsys):
    with pytest.raises(SystemExit):
        main(["switch", *change(checkpoints)])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert words in error


def test_a_network_of_the_users_own_is_named_by_a_flag(checkpoints, tmp_path, monkeypatch, capsys):
    code = """
from torch import nn
def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10))
"""
    (tmp_path / "my_switched.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    words = COMMON.replace("lenet-300-100 --model.width 0.1", "my_switched:build")
    main(f"train {words} --runs {tmp_path}".split())
    (file,) = tmp_path.rglob("last.safetensors")
    with pytest.raises(SystemExit):
        main(["switch", checkpoints[0], str(file)])
    assert "--model.name my_switched:build" in capsys.readouterr().err
    main(["switch", checkpoints[0], str(file), "--limit", "50", "--model.name", "my_switched:build"])
    assert "one of 2 is drawn" in capsys.readouterr().out
    main(["strong", str(file), "--candidates", "8", "--limit", "50", "--model.name", "my_switched:build"])
    assert "On 50 test images" in capsys.readouterr().out


def test_checkpoints_of_other_images_are_refused(checkpoints, tmp_path, capsys):
    file = tmp_path / "other.safetensors"
    replace(Checkpoint.load(Path(checkpoints[1])), data="0123456789abcdef").save(file)
    with pytest.raises(SystemExit):
        main(["switch", checkpoints[0], str(file)])
    assert "other images" in capsys.readouterr().err
