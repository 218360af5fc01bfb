"""Ways to damage a file: its bytes, its text, its tables and tensors, the sizes in its headers."""

import copy
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

Mutation = Callable[[bytes, random.Random], bytes]

FILLINGS = (bytes(1000), b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000, b"\xff\xfe")
NUMBERS = (b"99999999999", b"-1", b"1e400", b"NaN", b"0x10", b"18446744073709551616", b'"a"', b"null")
WORDS = (b"weight", b"bias", b"F32", b"version", b"hash", b"model", b"ids", b"step", b"train", b"name")
VALUES = (None, -1, 0, 1e400, 2**70, "x", "", [], {}, [[]], True, "../../etc/passwd", "os:system", [1] * 50)
NAMES = ("init/", "mask/x", "net/x", "moments/x/y", "moments/999/y", "")


def flip_bits(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    """Keep the beginning or the end."""
    place = rng.randrange(len(content))
    return content[:place] if rng.random() < 0.7 else content[place:]


def splice(content: bytes, rng: random.Random) -> bytes:
    """Insert a copy of a part, remove a part, or write one over another."""
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


def insert(content: bytes, rng: random.Random) -> bytes:
    """Insert noise, zeros or deep brackets."""
    place = rng.randrange(len(content))
    filling = rng.choice([rng.randbytes(rng.choice([1, 16, 5000])), *FILLINGS])
    return content[:place] + filling + content[place:]


def enlarge_binary(content: bytes, rng: random.Random) -> bytes:
    """Write a huge binary number over eight, four or two bytes, often near the front, where headers are."""
    size, form = rng.choice([(8, "<Q"), (4, "<I"), (2, "<H")])
    place = rng.randrange(max(1, min(len(content) - size, rng.choice([16, 400, len(content)]))))
    value = rng.choice([2 ** (8 * size) - 1, 2 ** (8 * size - 1), 2 ** (8 * size - 2) + 7])
    return content[:place] + struct.pack(form, value) + content[place + size :]


def replace_digit(content: bytes, rng: random.Random) -> bytes:
    """Write a huge, negative or malformed number in the place of a digit."""
    places = [i for i, byte in enumerate(content) if 48 <= byte <= 57]
    if not places:
        return flip_bits(content, rng)
    place = rng.choice(places)
    return content[:place] + rng.choice(NUMBERS) + content[place + 1 :]


def rename(content: bytes, rng: random.Random) -> bytes:
    """Spell a word of the file in another way."""
    words = [word for word in WORDS if word in content]
    if not words:
        return flip_bits(content, rng)
    word = rng.choice(words)
    spelling = rng.choice([b"", word.upper(), word + b"\x00", "ü☃".encode(), b"../" + word])
    return content.replace(word, spelling, 1)


MUTATIONS: tuple[Mutation, ...] = (flip_bits, cut, splice, insert, enlarge_binary, replace_digit, rename)


def mutate(samples: list[bytes], files: int, rng: random.Random) -> Iterator[bytes]:
    """So many damaged files, each by one to three mutations of a kind."""
    for number in range(files):
        content = rng.choice(samples)
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            if content:
                content = MUTATIONS[number % len(MUTATIONS)](content, rng)
        yield content


def change_table(table: Any, rng: random.Random) -> Any:
    """A copy of a nested table in which one entry is missing or has another value."""
    table = copy.deepcopy(table)
    inner = table
    while True:
        key = rng.choice(sorted(inner))
        if isinstance(inner[key], dict) and inner[key] and rng.random() < 0.7:
            inner = inner[key]
            continue
        if rng.random() < 0.3:
            del inner[key]
        else:
            inner[key] = copy.deepcopy(rng.choice(VALUES))
        return table


def change_tensors(tensors: dict[str, Tensor], rng: random.Random) -> dict[str, Tensor]:
    """One tensor missing, of another shape, of another type, not finite, or under another name."""
    changed, name = dict(tensors), rng.choice(sorted(tensors))
    tensor = changed.pop(name)
    replacements: list[Callable[[], dict[str, Tensor]]] = [
        dict,
        lambda: {name: tensor.reshape(-1)[:1]},
        lambda: {name: tensor[None]},
        lambda: {name: tensor.to(torch.int32)},
        lambda: {name: tensor.double()},
        lambda: {name: torch.full_like(tensor, 255)},
        lambda: {name: torch.full(tensor.shape, float("nan"))},
        lambda: {rng.choice([name + "x", *NAMES]): tensor},
    ]
    return changed | rng.choice(replacements)()
