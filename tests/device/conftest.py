"""Runs parts of the project in a process of its own: a device is registered before any backward pass."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import simulated_device
from device_work import Outcome


@pytest.fixture(scope="session")
def work():
    """Run parts on the CPU and the simulated device; gives the outcome of each."""
    if not simulated_device.is_possible():
        pytest.skip("this version of PyTorch can register no device that is written in Python")

    def run(*parts, without_float64=False):
        options = ["--without-float64"] if without_float64 else []
        program = Path(__file__).with_name("device_work.py")
        process = subprocess.run(
            [sys.executable, program, *options, *parts], capture_output=True, text=True, timeout=900
        )
        assert process.returncode == 0, process.stderr[-3000:]
        return {name: Outcome(**fields) for name, fields in json.loads(process.stdout).items()}

    return run
