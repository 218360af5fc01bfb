"""The idx files of MNIST and Fashion-MNIST: read from any folder, and refused if damaged."""

import gzip

import numpy as np
import pytest
from torchvision_files import IDX, idx_bytes, inner, load

from robust_tickets.base.errors import InputError
from robust_tickets.data.torchvision_sets import TORCHVISION_FILES


@pytest.mark.parametrize("name", IDX)
def test_a_download_of_idx_files_is_read(small_set, tmp_path, monkeypatch, name):
    root = small_set(name)
    expected = load(name, root).fingerprint

    def download(name, path, download, log):
        (path / TORCHVISION_FILES[name].folder[0]).symlink_to(root / TORCHVISION_FILES[name].folder[0])

    (tmp_path / "new").mkdir()
    monkeypatch.setattr("robust_tickets.data.torchvision_sets._read_torchvision", download)
    assert load(name, tmp_path / "new", download=True).fingerprint == expected


@pytest.mark.parametrize("packed", ["none", "all", "some", "both"])
@pytest.mark.parametrize("name", IDX)
def test_any_folder_with_the_four_files_is_read_gzipped_or_not(small_set, tmp_path, name, packed):
    root = small_set(name)
    expected = load(name, root).fingerprint
    (tmp_path / "flat").mkdir()
    for number, file in enumerate(sorted(inner(name, root).iterdir())):
        content = file.read_bytes()
        if packed in ("all", "both") or (packed == "some" and number % 2):
            (tmp_path / "flat" / f"{file.name}.gz").write_bytes(gzip.compress(content))
        if packed in ("none", "both") or (packed == "some" and not number % 2):
            (tmp_path / "flat" / file.name).write_bytes(content)
    assert load(name, tmp_path / "flat").fingerprint == expected


IMAGES, LABELS = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
DAMAGE = {
    "has no train-images-idx3-ubyte": (IMAGES, None),
    "00 00 0d 03.*00 00 08 03": (IMAGES, lambda c: b"\0\0\x0d\x03" + c[4:]),  # floats
    "holds 9.*not 10": (LABELS, lambda c: idx_bytes(np.zeros(9, np.uint8))),
    "10 x 28 x 27.*10 x 28 x 28": (IMAGES, lambda c: idx_bytes(np.zeros((10, 28, 27), np.uint8))),
    "10 x 0 x 0.*10 x 28 x 28": (IMAGES, lambda c: c[:9]),
    "7,840.*7,839": (IMAGES, lambda c: c[:-1]),
    "10 bytes.*more": (LABELS, lambda c: c + b"\0"),
    "label 10.*10 classes": (LABELS, lambda c: c[:-1] + b"\x0a"),
}


@pytest.mark.parametrize("gzipped", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("message", DAMAGE)
def test_a_damaged_idx_file_is_named(small_set, message, gzipped):
    name, damage = DAMAGE[message]
    root = small_set("mnist")
    folder = inner("mnist", root)
    file = folder / name
    content = file.read_bytes()
    file.unlink()
    if damage and gzipped:
        file.with_name(f"{name}.gz").write_bytes(gzip.compress(damage(content)))
    elif damage:
        file.write_bytes(damage(content))
    with pytest.raises(InputError, match=f"{message}.*download it again") as caught:
        load("mnist", root)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    "damage", [lambda c: c[: len(c) // 2], lambda c: b"no gzip", lambda c: c[:20] + c[21:]]
)
def test_a_damaged_gzip_file_is_named(small_set, damage):
    root = small_set("mnist")
    file = inner("mnist", root) / IMAGES
    file.with_name(f"{IMAGES}.gz").write_bytes(damage(gzip.compress(file.read_bytes())))
    file.unlink()
    with pytest.raises(InputError, match=rf"{IMAGES}\.gz.*download it again"):
        load("mnist", root)
