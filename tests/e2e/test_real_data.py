"""A shipped recipe for CIFAR-10, cut short, on CIFAR-10 itself; skipped where there is no copy."""

import os
from pathlib import Path

import pandas as pd
import pytest

from robust_tickets.cli.main import main

SHORT = (
    "--data.train-images 256 --data.val-images 50 --search.epochs 1 --search.batch 64 --train.epochs 2"
    " --train.ticket-epochs 1 --train.batch 64 --train.pgd.steps 1 --evaluate.images 50"
    " --evaluate.val-steps 1 --compare.arms dense ticket"
)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("ROBUST_TICKETS_CIFAR10"), reason="no copy of CIFAR-10 is named")
def test_a_comparison_on_real_images(tmp_path, capsys):
    main(["compare", "--recipe", "cifar10-cpu", "--runs", str(tmp_path), *SHORT.split()])
    run = Path(capsys.readouterr().out.splitlines()[-1])
    assert "CIFAR-10" in (run / "timing.md").read_text()
    table = pd.read_csv(run / "timing.csv").set_index("arm")
    assert table.density["ticket"] == pytest.approx(0.2, abs=1e-4)
    root = os.environ["ROBUST_TICKETS_CIFAR10"].encode()
    assert not [file for file in run.rglob("*") if file.is_file() and root in file.read_bytes()]
    main(["evaluate", str(run / "seed-0/ticket/best.safetensors"), "--limit", "20", "--attacks", "fgsm"])
    assert capsys.readouterr().out.splitlines()[-1].endswith("robustness.csv")
