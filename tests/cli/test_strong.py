"""The command `strong`: a checkpoint, its table, and what is refused."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from robust_tickets.cli.main import main
from robust_tickets.training.checkpoint import Checkpoint

COMMON = (
    "--recipe demo --model.name lenet-300-100 --model.width 0.1 --compute.threads 1 --data.train-images 512"
    " --train.method pgd --train.epochs 3 --evaluate.val-steps 1"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    main(f"train {COMMON} --runs {runs}".split())
    (file,) = runs.rglob("last.safetensors")
    return file


def test_the_table_shows_that_robustness_is_kept_where_the_bound_is_small(checkpoint, capsys):
    main(f"strong {checkpoint} --candidates 8 24 44 --limit 100".split())
    output = capsys.readouterr().out
    file = Path(output.split()[-1])
    assert file.parent == checkpoint.parent
    rows = pd.read_csv(file)
    target, few, some, many = rows.to_dict("records")
    assert (rows.logit_error <= rows.logit_bound).all()
    assert few["logit_bound"] > some["logit_bound"] > many["logit_bound"]
    assert many["same_class"] == 1
    assert many["transfer"] == pytest.approx(target["robust"], abs=0.02)
    assert (rows.transfer <= target["robust"]).all()
    assert (rows.certified <= rows.robust).all()
    assert (rows.transfer <= rows.robust).all()
    assert many["robust"] <= target["robust"]  # an attack on itself alone sees no gradient at black pixels
    assert many["weights"] < many["random_weights"] / 10
    assert f"{target['clean']:.1%}" in output
    main(f"strong {checkpoint} --candidates 8 --limit 50".split())
    assert capsys.readouterr().out.split()[-1] != str(file), "the first table stays"


def test_what_is_saved_gives_the_logits_by_matrix_products_alone(checkpoint, tmp_path):
    """Held against the trained network, by the bound of the table."""
    main(f"strong {checkpoint} --candidates 44 --limit 100 --save {tmp_path / 'nets'}".split())
    parts = load_file(tmp_path / "nets" / "44.safetensors")
    trained = Checkpoint.load(checkpoint)
    net, spec = trained.net(), trained.model
    images = torch.rand(20, *spec.shape, dtype=torch.float64)
    x = images.flatten(1)
    for i in range(3):
        first, second = (parts[f"keeps_{part}.{i}"] * parts[f"{part}.{i}"] for part in ("first", "second"))
        x = torch.cat([x.relu() if i else x, torch.ones(len(x), 1)], 1)
        x = parts[f"scale.{i}"] * (x @ first.T).relu() @ second.T
    assert all(parts[f"{part}.{i}"].abs().max() <= 1 for part in ("first", "second") for i in range(3))
    table = pd.read_csv(max(checkpoint.parent.glob("*-strong-*.csv"), key=lambda file: file.stat().st_mtime))
    assert (net.double()(images) - x).abs().max() <= table.logit_bound.iloc[1] * 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ("--model.name conv-2", "only such can be rebuilt"),
        ("--threat.norm L2 --threat.eps 0.5", "the bound is for threat.norm Linf"),
    ],
)
def test_what_cannot_be_bounded_is_refused(changes, words, tmp_path, capsys):
    main(f"train {COMMON} --runs {tmp_path} --train.epochs 1 {changes}".split())
    (file,) = tmp_path.rglob("last.safetensors")
    with pytest.raises(SystemExit):
        main(["strong", str(file)])
    assert words in capsys.readouterr().err
    assert not list(tmp_path.rglob("*strong*"))
