"""A command that runs out of a device's memory ends in one line, and goes on from what it has done."""

import pytest
import torch
from quick_comparison import quick_comparisons

from robust_tickets.attacks.blocks import Blocks
from robust_tickets.training import loop, precision

COMMAND = "compare --recipe {tiny} --compare.arms dense ticket --compute.threads 1"


def fail(*arguments, **options):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 is full.")


@pytest.mark.parametrize(("owner", "function"), [(loop, "set_learning_rate"), (Blocks, "_forward")])
def test_what_is_done_is_kept(owner, function, call, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(owner, function, fail)
        status, err = call(COMMAND)
    *_, message = err.splitlines()
    assert status == 2
    assert "Traceback" not in err
    assert message.startswith(
        "robust-tickets: out of memory (CUDA out of memory. Tried to allocate 2.00 GiB): "
    )
    assert "lower train.batch" in message
    with quick_comparisons(report=True):
        status, err = call(COMMAND)
    assert status == 0


def test_it_is_not_taken_for_a_compiler_that_does_not_work(call, monkeypatch):
    monkeypatch.setattr(precision, "_compile_error", lambda device: None)
    monkeypatch.setattr(precision, "_warm_up", fail)
    status, err = call(COMMAND + " --compute.compile")
    assert status == 2
    assert "torch.compile does not work" not in err
    assert err.splitlines()[-1].startswith("robust-tickets: out of memory")


def test_evaluate_takes_a_smaller_batch(call, monkeypatch):
    sizes, forward = set(), Blocks._forward

    def count(blocks, images, n):
        sizes.add(len(images))
        return forward(blocks, images, n)

    monkeypatch.setattr(Blocks, "_forward", count)
    assert call("evaluate {checkpoint} --attacks fgsm --limit 20 --batch 4")[0] == 0
    assert max(sizes) == 4
