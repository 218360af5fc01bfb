"""Several processes that share an evaluation give the verdicts and passes of one."""

import pandas as pd
import pytest
import torch
from torch import nn

import robust_tickets
from robust_tickets.base import followers
from robust_tickets.base.errors import InputError
from robust_tickets.base.followers import end_followers, process_group
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress

ATTACKS = ["clean", "fgsm", "pgd-5", "square(queries=20)", "autoattack", "torchattacks:PGD(steps=3)"]


@pytest.fixture(scope="module", autouse=True)
def _ended():
    yield
    end_followers()


def rows(net, devices, **more) -> pd.DataFrame:
    table = robust_tickets.evaluate(
        net,
        recipe="demo",
        attacks=ATTACKS,
        limit=60,
        devices=devices,
        evaluate={"batch": 5},
        compute={"threads": 1},
        **more,
    )
    return table.drop(columns="seconds")


@pytest.mark.filterwarnings("ignore::robust_tickets.base.errors.RobustnessWarning")
def test_rows_are_those_of_one_process():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).eval()
    pd.testing.assert_frame_equal(rows(net, 1), rows(net, 2))


class Broken(nn.Module):
    """Gives NaN for images whose brightest place is dark."""

    def forward(self, x):
        total = x.flatten(1).sum(1, keepdim=True)
        return total * torch.ones(10) + torch.where(total > total.median(), torch.nan, 0.0)


def test_an_error_in_one_process_is_raised_in_the_leader():
    with pytest.raises(InputError, match="NaN"):
        rows(Broken(), 2)
    process_group(["cpu", "cpu"])


def test_more_devices_than_there_are_and_several_trainings_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.raises(InputError, match="--devices is 3, and this machine has 2 cores: give at most 2"):
        Machine("cpu", SilentProgress(), world_size=3).process_group()
    gpus = Machine("meta:0", SilentProgress(), devices=("meta:0",), world_size=2)
    monkeypatch.setattr("robust_tickets.base.machine.device_kind", lambda device: "cuda")
    with pytest.raises(InputError, match="there are not 2 devices: meta:0 can be used"):
        gpus.process_group()
    for several in ({"jobs": 2}, {"executor": "dask"}):
        with pytest.raises(InputError, match="each training is to be shared by 2 devices"):
            robust_tickets.compare(recipe="demo", runs=tmp_path, devices=2, **several)


@pytest.mark.parametrize(
    ("words", "device"),
    [
        ("train", "cpu"),
        ("train --device cuda", "cuda:1"),
        ("train --device=cuda --seed 1", "cuda:1"),
        ("train --device cpu --device cuda:0", "cuda:1"),
    ],
)
def test_a_process_of_torchrun_has_the_gpu_of_its_number(words, device, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert followers._device(words.split()) == device
