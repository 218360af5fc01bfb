"""Adversarial images are written all of them or none, and the rest of a killed process is removed."""

import errno
import os

import numpy as np
import pytest
import torch
from PIL import Image

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import Split
from robust_tickets.stages.adversarial_images import AdversarialImages


def filled(folder, attack="pgd-20"):
    album = AdversarialImages(folder)
    images = torch.rand(3, 3, 4, 4)
    split = Split((images * 255).to(torch.uint8), torch.arange(3), torch.arange(3) + 7)
    album.at("8/255")(attack, split, images, torch.tensor([True, False, True]))
    return album, images


def test_images_come_as_arrays_and_pictures(tmp_path):
    album, images = filled(tmp_path / "album")
    assert album.write() == f"3 adversarial images are in {tmp_path / 'album'}"
    with np.load(tmp_path / "album" / "pgd-20.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], images.numpy())
    pictures = sorted((tmp_path / "album" / "pgd-20").iterdir())
    assert [path.name[:14] for path in pictures] == [f"{i + 7:06}-label-{i}" for i in range(3)]
    for path, image in zip(pictures, images.numpy(), strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), np.rint(image * 255).transpose(1, 2, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["album"]


def test_where_nothing_is_attacked_the_folder_stays_empty_and_this_is_said(tmp_path):
    folder = tmp_path / "album"
    album = AdversarialImages(folder, apart=True)
    assert album.write().startswith(f"no adversarial images are in {folder}: no image is right")
    assert list(tmp_path.rglob("*")) == [folder]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_where_writing_ends_early_no_file_is_left_and_the_same_call_succeeds(error, tmp_path, monkeypatch):
    folder, save, count = tmp_path / "album", Image.Image.save, [0]

    def failing(self, *arguments, **more):
        count[0] += 1
        if count[0] == 2:
            raise error
        save(self, *arguments, **more)

    monkeypatch.setattr(Image.Image, "save", failing)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        filled(folder)[0].write()
    if isinstance(error, OSError):
        assert str(caught.value).startswith(f"cannot write {folder}: No space left on device: make room")
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(Image.Image, "save", save)
    filled(folder)[0].write()
    assert (folder / "pgd-20.npz").is_file()


def test_the_rest_of_a_killed_process_is_removed(tmp_path):
    left = tmp_path / ".album.part"
    left.mkdir()
    (left / "half.npz").write_bytes(b"half")
    filled(tmp_path / "album")[0].write()
    assert [path.name for path in tmp_path.iterdir()] == ["album"]
    assert not (tmp_path / "album" / "half.npz").exists()


def test_a_long_name_of_an_attack_makes_a_valid_file_name(tmp_path):
    name = f"torchattacks:CW(steps=1, c={', lr='.join(['0.' + '1' * 150] * 2)})"
    filled(tmp_path / "album", name)[0].write()
    (file,) = (tmp_path / "album").glob("*.npz")
    assert file.name.startswith("torchattacks-CW-steps-1-c-0.111")
    assert len(file.name) < 120
