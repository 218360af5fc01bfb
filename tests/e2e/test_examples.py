"""The examples run as a user would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own_loop", "own_loop_lightning", "own_loop_accelerate"])
def test_a_sparse_network_is_trained_robust_in_a_loop_of_one_s_own(name):
    pytest.importorskip(name.partition("loop_")[2] or "torch")
    process = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr
    zeros = re.search(r"(\d+) parameters are zero", process.stdout)
    robust = re.search(r"pgd-20 +\d+ +([\d.]+)", process.stdout)
    assert zeros
    assert robust
    assert int(zeros[1]) >= 6900  # 70 % of 9,872 weights
    assert float(robust[1]) > 0.4  # four times chance
