"""Tensor files read back bit for bit, and no damaged file is accepted."""

import json
import random

import pytest
import torch
from safetensors.torch import save_file

from robust_tickets.base.errors import InputError
from robust_tickets.runs import tensor_file

META = {"seed": 3, "val": 0.1, "search": {"lr": 1e-05, "eps": "8/255"}, "mask": ["b", "a"], "none": None}


def tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "conv.weight": torch.randn(4, 3, 2, 2, generator=generator),
        "channels_last": torch.randn(4, 3, 2, 2, generator=generator).contiguous(
            memory_format=torch.channels_last
        ),
        "transposed": torch.randn(3, 5, generator=generator).t(),
        "slice": torch.randn(6, 4, generator=generator)[1:5:2, 1:3],
        "odd": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
        "double": torch.randn(3, dtype=torch.float64, generator=generator),
        "bits": torch.randint(256, (5,), dtype=torch.uint8, generator=generator),
        "mask": torch.rand(7, generator=generator) < 0.5,
        "batches": torch.tensor(12345678901),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(
        tensor.dtype == theirs[name].dtype
        and tensor.shape == theirs[name].shape
        and tensor.detach().contiguous().numpy().tobytes() == theirs[name].contiguous().numpy().tobytes()
        for name, tensor in ours.items()
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.safetensors"
    tensor_file.save(path, "ticket", tensors(), META)
    return path


@pytest.fixture
def small(tmp_path):
    """A file of two tensors, few enough bytes to damage every one of them."""
    path = tmp_path / "small.safetensors"
    tensor_file.save(
        path, "ticket", {"w": torch.randn(5), "m": torch.tensor([1, 255], dtype=torch.uint8)}, META
    )
    return path


def test_tensors_and_values_read_back_bit_for_bit(file):
    loaded, meta = tensor_file.load(file, "ticket")
    assert same(tensors(), loaded)
    assert {key: meta[key] for key in META} == META
    assert (meta["kind"], meta["version"]) == ("ticket", tensor_file.VERSION)
    assert meta["hash"] == tensor_file.content_hash(loaded, meta)


def test_saving_changes_nothing_in_memory(tmp_path):
    ours, meta = tensors(), dict(META)
    tensor_file.save(tmp_path / "a", "ticket", ours, meta)
    assert meta == META
    assert same(tensors(), {name: tensor.detach() for name, tensor in ours.items()})
    assert ours["channels_last"].is_contiguous(memory_format=torch.channels_last)


def test_the_same_content_in_any_order_gives_the_same_bytes(file, tmp_path):
    """And the same hash, which does not depend on itself."""
    backwards = dict(reversed(tensors().items()))
    meta = {"hash": "f" * 16, **dict(reversed(META.items()))}
    tensor_file.save(tmp_path / "b.safetensors", "ticket", backwards, meta)
    assert (tmp_path / "b.safetensors").read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda t, m: t.update(odd=torch.tensor([float("nan"), float("inf"), 0.0, 1e-45])),
        lambda t, m: t.update(bits=t["bits"].to(torch.int8)),
        lambda t, m: t.update(turned=t["transposed"].reshape(3, 5)),
        lambda t, m: t.update(renamed=t.pop("bits")),
        lambda t, m: m.update(seed=4),
        lambda t, m: m.update(new=None),
        lambda t, m: m["search"].update(lr=1e-04),
    ],
)
def test_any_change_of_content_changes_the_hash(change):
    ours, meta = tensors(), json.loads(json.dumps(META))
    ours["parameter"] = ours["parameter"].detach()
    before = tensor_file.content_hash(ours, meta)
    change(ours, meta)
    assert tensor_file.content_hash(ours, meta) != before


def test_a_file_cut_short_anywhere_or_a_byte_too_long_is_refused(small):
    whole = small.read_bytes()
    for content in (*(whole[:length] for length in range(len(whole))), whole + b"\0"):
        small.write_bytes(content)
        with pytest.raises(InputError, match=r"small\.safetensors"):
            tensor_file.load(small, "ticket")


def test_a_changed_byte_is_noticed_or_harmless(small):
    loaded, meta = tensor_file.load(small, "ticket")
    whole = small.read_bytes()
    generator = random.Random(0)
    refused = 0
    for position in range(len(whole)):
        for flip in (1 << generator.randrange(8), generator.randrange(1, 256)):
            small.write_bytes(whole[:position] + bytes([whole[position] ^ flip]) + whole[position + 1 :])
            try:
                tensors_, meta_ = tensor_file.load(small, "ticket")
            except InputError:
                refused += 1
                continue
            assert same(tensors_, loaded), f"byte {position} flipped by {flip}"
            assert meta_ == meta, f"byte {position} flipped by {flip}"
    assert refused > 1.8 * len(whole)  # else the flips hit nothing


def test_another_kind_is_named(file):
    with pytest.raises(InputError, match="is a ticket, expected a checkpoint"):
        tensor_file.load(file, "checkpoint")


@pytest.mark.parametrize("version", [1, 3, None])
def test_another_version_is_refused(file, monkeypatch, version):
    monkeypatch.setattr("robust_tickets.runs.tensor_file.VERSION", version)
    tensor_file.save(file, "ticket", tensors(), META)
    monkeypatch.undo()
    with pytest.raises(InputError, match=rf"is of version {version}, and this release reads version 2 alone"):
        tensor_file.load(file, "ticket")


def our_text(text, dtype=torch.float32):
    return lambda path: save_file({"w": torch.zeros(3, dtype=dtype)}, path, text and {"robust-tickets": text})


HASHED = '{"kind": "ticket", "version": 2, "hash": "0000000000000000"}'
MAKERS = {
    "without our key": our_text(None),
    "a list under our key": our_text("[1, 2]"),
    "no JSON under our key": our_text("{"),
    "no hash": our_text('{"kind": "ticket", "version": 2}'),
    "bfloat16": our_text(HASHED, torch.bfloat16),
    "pickle": lambda path: torch.save({"w": torch.zeros(3)}, path),
    "text": lambda path: path.write_text("no tensors at all\n" * 100),
    "folder": lambda path: path.mkdir(),
    "absent": lambda path: None,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_file_that_save_did_not_write_is_named(tmp_path, make):
    path = tmp_path / "file.safetensors"
    make(path)
    with pytest.raises(InputError, match=r"file\.safetensors"):
        tensor_file.load(path, "ticket")
