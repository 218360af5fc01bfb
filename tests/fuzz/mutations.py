"""Ways to damage a file: of bytes, of text, of sizes that a header claims."""

import copy
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

Mutation = Callable[[bytes, random.Random], bytes]


def flipped(content: bytes, rng: random.Random) -> bytes:
    """A few bits."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        place = rng.randrange(len(changed))
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    """The beginning, or the end."""
    place = rng.randrange(len(content))
    return content[:place] if rng.random() < 0.7 else content[place:]


def spliced(content: bytes, rng: random.Random) -> bytes:
    """A part in the place of another, one more, or one less."""
    a, b = sorted(rng.randrange(len(content)) for _ in range(2))
    c = rng.randrange(len(content))
    part = content[a : min(b, a + 4096)]
    return rng.choice(
        [
            content[:c] + part + content[c:],
            content[:a] + content[b:],
            content[:c] + part + content[c + len(part) :],
        ]
    )


def stuffed(content: bytes, rng: random.Random) -> bytes:
    """Noise, zeros, or deep brackets in the middle."""
    place = rng.randrange(len(content))
    filling = rng.choice(
        [
            rng.randbytes(rng.choice([1, 16, 5000])),
            bytes(1000),
            b"[" * 100_000,
            b'{"a":' * 50_000,
            b"9" * 5000,
            b"\xff\xfe",
        ]
    )
    return content[:place] + filling + content[place:]


def large_number(content: bytes, rng: random.Random) -> bytes:
    """A number of eight, four or two bytes that is far too large, at the front, where headers are, or not."""
    size, form = rng.choice([(8, "<Q"), (4, "<I"), (2, "<H")])
    place = rng.randrange(max(1, min(len(content) - size, rng.choice([16, 400, len(content)]))))
    value = rng.choice([2 ** (8 * size) - 1, 2 ** (8 * size - 1), 2 ** (8 * size - 2) + 7])
    return content[:place] + struct.pack(form, value) + content[place + size :]


def large_digits(content: bytes, rng: random.Random) -> bytes:
    """A written number that is far larger, as in a shape, or negative, or none."""
    places = [i for i, byte in enumerate(content) if 48 <= byte <= 57]
    if not places:
        return flipped(content, rng)
    place = rng.choice(places)
    new = rng.choice(
        [b"99999999999", b"-1", b"1e400", b"NaN", b"0x10", b"18446744073709551616", b'"a"', b"null"]
    )
    return content[:place] + new + content[place + 1 :]


def renamed(content: bytes, rng: random.Random) -> bytes:
    """A word of the file in another spelling."""
    words = [
        w
        for w in (
            b"weight",
            b"bias",
            b"F32",
            b"version",
            b"hash",
            b"model",
            b"ids",
            b"step",
            b"train",
            b"name",
        )
        if w in content
    ]
    if not words:
        return flipped(content, rng)
    word = rng.choice(words)
    return content.replace(
        word, rng.choice([b"", word.upper(), word + b"\x00", "ü☃".encode(), b"../" + word]), 1
    )


MUTATIONS: tuple[Mutation, ...] = (flipped, cut, spliced, stuffed, large_number, large_digits, renamed)


ODD = (None, -1, 0, 1e400, 2**70, "x", "", [], {}, [[]], True, "../../etc/passwd", "os:system", [1] * 50)


def forged(table: Any, rng: random.Random) -> Any:
    """A table of plain values with one of them gone, or another thing in its place."""
    table = copy.deepcopy(table)
    at = table
    while True:
        key = rng.choice(sorted(at))
        if isinstance(at[key], dict) and at[key] and rng.random() < 0.7:
            at = at[key]
            continue
        if rng.random() < 0.3:
            del at[key]
        else:
            at[key] = copy.deepcopy(rng.choice(ODD))
        return table


def misshapen(tensors: dict[str, Tensor], rng: random.Random) -> dict[str, Tensor]:
    """One tensor gone, of another shape, of another type, not finite, or under another name."""
    changed, name = dict(tensors), rng.choice(sorted(tensors))
    tensor = changed.pop(name)
    ways = [
        lambda: {},
        lambda: {name: tensor.reshape(-1)[:1]},
        lambda: {name: tensor[None]},
        lambda: {name: tensor.to(torch.int32)},
        lambda: {name: tensor.double()},
        lambda: {name: torch.full_like(tensor, 255)},
        lambda: {name: torch.full(tensor.shape, float("nan"))},
        lambda: {
            rng.choice([name + "x", "init/", "mask/x", "net/x", "moments/x/y", "moments/999/y", ""]): tensor
        },
    ]
    return changed | rng.choice(ways)()


def mutated(valid: list[bytes], n: int, rng: random.Random) -> Iterator[bytes]:
    """So many damaged files."""
    for number in range(n):
        content = rng.choice(valid)
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            if content:
                content = MUTATIONS[number % len(MUTATIONS)](content, rng)
        yield content
