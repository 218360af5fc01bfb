"""The calls of torch.cuda itself, on a stub: what the simulated device cannot see."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from robust_tickets.attacks import adapter
from robust_tickets.base import devices, machine, random_streams
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import GPUClock, Ledger, clock_for
from robust_tickets.base.progress import SilentProgress
from robust_tickets.evaluation.chunks import chunk_size

STATES = [torch.zeros(16, dtype=torch.uint8), torch.ones(16, dtype=torch.uint8)]


class Event:
    """An event whose time is its number."""

    times = iter(range(1000))

    def __init__(self, enable_timing):
        assert enable_timing
        self.time = None
        self.read = False

    def record(self):
        self.time = next(Event.times)

    def synchronize(self):
        assert self.time is not None
        self.read = True

    def elapsed_time(self, end):
        assert end.read
        return 1000.0 * (end.time - self.time)


@pytest.fixture
def cuda(monkeypatch):
    """A stub of torch.cuda with two GPUs, of which the second is current; gives the calls that change it."""
    calls = []
    properties = SimpleNamespace(major=9, minor=0, multi_processor_count=132, total_memory=80 * 2**30)
    empty = torch.empty

    def record(name):
        return lambda *arguments: calls.append((name, *arguments))

    stub = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 2,
        "current_device": lambda: 1,
        "get_rng_state": lambda index: STATES[index],
        "get_device_name": lambda index=None: f"H100 of {index}",
        "get_device_properties": lambda device: properties,
        "is_bf16_supported": lambda including_emulation: not including_emulation,
        "Event": Event,
        **{name: record(name) for name in ("set_device", "manual_seed", "manual_seed_all", "set_rng_state")},
    }
    for name, value in stub.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    on_gpu = SimpleNamespace(device=torch.device("cuda:1"))
    monkeypatch.setattr(
        torch, "empty", lambda *a, device="cpu", **o: on_gpu if "cuda" in device else empty(*a, **o)
    )
    monkeypatch.setattr(machine, "_warm_up", lambda device: None)
    return calls


def test_the_device_that_is_named_becomes_the_current_one(cuda, monkeypatch):
    prepared = []
    monkeypatch.setattr(machine, "prepare_cuda", lambda: prepared.append(True))
    machine.Machine("cuda:1", SilentProgress()).prepare(1)
    machine.Machine("cuda", SilentProgress()).prepare(1)
    assert cuda == [("set_device", "cuda:1")] * 2
    assert len(prepared) == 2


def test_a_gpu_without_a_number_is_the_current_one_for_good(cuda, monkeypatch):
    of_old = machine.Machine("cuda", SilentProgress())
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)  # after a call on cuda:0
    assert of_old.device == replace(of_old, jobs=2).device == "cuda:1"
    assert machine.Machine("cuda", SilentProgress()).device == "cuda:0"
    assert machine.Machine("cuda:1", SilentProgress()).devices == ("cuda:1",)


def test_without_a_gpu_cuda_is_refused_where_it_is_prepared():
    computer = machine.Machine("cuda", SilentProgress())
    assert (computer.device, computer.devices) == ("cuda", ("cuda",))
    with pytest.raises(InputError, match="device 'cuda' cannot be used"):
        computer.prepare(1)


def test_jobs_share_the_gpus_that_are_alike(cuda, monkeypatch):
    names = ["A100", "H100", "H100", "H100"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_device_name", names.__getitem__)
    busy = []
    for _ in range(4):
        share = machine.Machine("cuda", SilentProgress()).share(4, busy)
        busy.append(share.device)
        assert (share.jobs, share.devices) == (4, (share.device,))
    assert busy == ["cuda:1", "cuda:2", "cuda:3", "cuda:1"]
    busy.remove("cuda:2")  # a job that has ended
    assert machine.Machine("cuda", SilentProgress()).share(4, busy).device == "cuda:2"
    assert machine.Machine("cuda:1", SilentProgress()).share(4, busy).device == "cuda:1"


DRIVERS = {
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024": "550.54.15",
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build": "570.86.10",
    "6.8.5\n": "6.8.5",
    "": "",
}


@pytest.mark.parametrize("text", DRIVERS)
def test_driver_and_slice_are_described(text, cuda, monkeypatch, tmp_path):
    file = tmp_path / "version"
    file.write_text(text)
    monkeypatch.setattr(devices, "DRIVER_FILES", (str(tmp_path / "missing"), str(file)))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA H100 80GB HBM3 MIG 1g.10gb")
    description = machine.describe_machine("cuda:1", 1)
    assert (description["driver"], description["mig"]) == (DRIVERS[text], "1g.10gb")


def test_the_ledger_reads_events_when_it_settles(cuda):
    clock = clock_for("cuda:1")
    ledger = Ledger("train", clock)
    with ledger.measure(), ledger.phase("attack"), ledger.phase("update"):
        pass
    assert isinstance(clock, GPUClock)
    assert ledger.seconds["other"] == ledger.seconds["attack"] == 2.0
    assert ledger.seconds["update"] == 1.0


def test_dropout_draws_from_the_current_gpu_and_its_state_comes_back(cuda):
    with random_streams.use_seed(7):
        assert cuda == [("manual_seed", 7)]
    assert cuda[1:] == [("set_rng_state", STATES[1], 1)]


def test_an_attack_of_torchattacks_puts_all_gpus_back(cuda):
    with adapter._seeded(7):
        assert cuda == [("manual_seed_all", 7)]
    assert cuda[1:] == [("set_rng_state", STATES[0], 0), ("set_rng_state", STATES[1], 1)]


def test_a_gpu_and_its_arithmetic_are_described(cuda):
    description = machine.describe_machine("cuda:1", 1)
    assert description["device"] == "cuda"
    assert description["gpu"] == "H100 of 1"
    assert description["capability"] == "9.0"
    assert description["multiprocessors"] == 132
    assert description["mig"] == ""
    assert {
        "cuda",
        "driver",
        "cudnn",
        "tf32",
        "cudnn_deterministic",
        "cudnn_benchmark",
        "gpu_memory",
    } <= description.keys()
    assert devices.has_bfloat16("cuda")  # by instructions, not by emulation
    assert devices.device_name("cuda") == "H100 of None"
    assert machine.describe_machine("cpu", 1)["gpu"] is None


@pytest.mark.parametrize(
    ("device", "capability", "hip", "expected"),
    [
        ("cuda:1", (8, 0), None, True),
        ("cuda", (7, 5), None, False),
        ("cuda", (9, 0), "6.4", False),
        ("cpu", (8, 0), None, False),
        ("xpu", (8, 0), None, False),
    ],
)
def test_which_devices_have_tf32(device, capability, hip, expected, cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert devices.has_tf32(device) == expected


PREPARE = """
import sys, warnings, torch
from robust_tickets.base.devices import prepare_cuda
warnings.simplefilter("error")
for setting in (
    "",
    "cudnn.conv.fp32_precision = 'tf32'",
    "cudnn.fp32_precision = 'tf32'",
    "matmul.fp32_precision = 'tf32'",
    "torch.backends.fp32_precision = 'tf32'",
    "torch.set_float32_matmul_precision('high')",
):
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    exec(setting)
    prepare_cuda()
    assert {cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, matmul.fp32_precision} == {"ieee"}, setting
    assert not cudnn.allow_tf32 and not matmul.allow_tf32  # torch.compile reads these, which may raise
    assert torch.get_float32_matmul_precision() == "highest"
    assert cudnn.deterministic and not cudnn.benchmark
"""


def test_float32_is_float32_whatever_was_set_before():
    process = subprocess.run([sys.executable, "-c", PREPARE], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_an_untried_device_is_said_to_be_one_once(kind, cuda, spoken, monkeypatch):
    place = SimpleNamespace(device=torch.device(kind))
    monkeypatch.setattr(torch, "empty", lambda *a, **o: place)
    monkeypatch.setattr(torch.xpu, "set_device", lambda device: cuda.append(device))
    for _ in range(2):
        machine.Machine(f"{kind}:0", spoken).prepare(1)
    (line,) = spoken.lines
    assert line.startswith(f"WARNING: device {kind} is untried")
    assert cuda == ([f"{kind}:0"] * 2 if kind == "xpu" else [])


def test_chunks_of_untried_devices_lie_between_those_of_cpus_and_gpus():
    sizes = [chunk_size(250, 10_000, 1_000_000_000, kind) for kind in ("cpu", "mps", "cuda")]
    assert sizes == sorted(sizes)
