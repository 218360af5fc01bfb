"""Packed tensors are read back bit for bit, take less room, and no part of them may be missing."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from robust_tickets.base.errors import InputError
from robust_tickets.runs import tensor_file
from robust_tickets.runs.packed_tensors import pack, unpack


def tensors():
    generator = torch.Generator().manual_seed(0)
    sparse = torch.randn(30, 20, generator=generator)
    return {
        "sparse": sparse * (torch.rand(30, 20, generator=generator) < 0.1),
        "dense": sparse,
        "zeros": torch.zeros(40, 3),
        "odd": torch.tensor([-0.0, 1e-45, float("nan"), float("inf")] + [0.0] * 96),
        "positive zeros": torch.where(sparse > 2, sparse, 0.0),
        "double": sparse.double() * (sparse > 2),
        "half": (sparse * (sparse > 2)).to(torch.bfloat16),
        "mask": torch.zeros(99, dtype=torch.bool),
        "complex": torch.complex(torch.zeros(50), -torch.zeros(50)),
        "batches": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }


def same(one, other):
    return one.keys() == other.keys() and all(
        value.dtype == other[name].dtype
        and value.shape == other[name].shape
        and torch.equal(value.reshape(-1, 1).view(torch.uint8), other[name].reshape(-1, 1).view(torch.uint8))
        for name, value in one.items()
        if value.numel()
    )


def test_what_is_packed_comes_back_bit_for_bit_and_nothing_grows():
    stored, shapes = pack(tensors())
    assert same(unpack(stored, shapes), tensors())
    assert set(shapes) == tensors().keys() - {"dense", "batches", "empty", "complex"}
    sizes = [sum(tensor.nbytes for tensor in each.values()) for each in (stored, tensors())]
    assert sizes[0] < sizes[1]
    assert "packed/signs/sparse" in stored
    assert "packed/signs/positive zeros" not in stored
    assert stored["packed/values/sparse"].numel() == int((tensors()["sparse"] != 0).sum())


def test_a_packed_file_is_read_like_any_other(tmp_path):
    files = {packed: tmp_path / f"{packed}.safetensors" for packed in (False, True)}
    for packed, file in files.items():
        tensor_file.save(file, "kind", tensors(), {"seed": 1}, packed=packed)
    (plain, about), (unpacked, about_packed) = (tensor_file.load(file, "kind") for file in files.values())
    assert same(plain, unpacked)
    assert about["hash"] == about_packed["hash"]
    assert files[True].stat().st_size < files[False].stat().st_size


@pytest.mark.parametrize("change", ["bits", "values", "shape", "entry", "no shape"])
def test_a_part_that_does_not_fit_is_refused(change, tmp_path):
    file = tmp_path / "a.safetensors"
    tensor_file.save(file, "kind", tensors(), {"seed": 1}, packed=True)
    with safe_open(file, framework="pt") as source:
        stored = {name: source.get_tensor(name) for name in source.keys()}  # noqa: SIM118 (no mapping)
        meta = json.loads(source.metadata()["robust-tickets"])
    if change == "bits":
        del stored["packed/kept/sparse"]
    elif change == "values":
        stored["packed/values/sparse"] = stored["packed/values/sparse"][1:].clone()
    elif change == "entry":
        stored["packed/values/sparse"][0] += 1
    elif change == "shape":
        meta["packed"]["sparse"] = [20, 30, 2]
    else:
        del meta["packed"]["sparse"]
    save_file(stored, file, {"robust-tickets": json.dumps(meta)})
    with pytest.raises(InputError, match=r"is damaged"):
        tensor_file.load(file, "kind")
