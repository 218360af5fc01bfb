"""Attacked images are written all of them or none, and what a dead process left is in nobody's way."""

import errno
import os

import numpy as np
import pytest
import torch
from PIL import Image

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import Split
from robust_tickets.stages.adversarial_images import AdversarialImages


def filled(folder):
    album = AdversarialImages(folder)
    images = torch.rand(3, 3, 4, 4)
    split = Split((images * 255).to(torch.uint8), torch.arange(3), torch.arange(3) + 7)
    album.at("8/255")("pgd-20", split, images, torch.tensor([True, False, True]))
    return album, images


def test_images_come_as_arrays_and_pictures(tmp_path):
    album, images = filled(tmp_path / "album")
    assert album.write() == f"3 adversarial images are in {tmp_path / 'album'}"
    with np.load(tmp_path / "album" / "pgd-20.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], images.numpy())
    assert len(list((tmp_path / "album" / "pgd-20").iterdir())) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["album"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_where_writing_ends_early_nothing_is_there_and_the_same_call_goes_on(error, tmp_path, monkeypatch):
    folder, save, count = tmp_path / "album", Image.Image.save, [0]

    def failing(self, *given, **more):
        count[0] += 1
        if count[0] == 2:
            raise error
        save(self, *given, **more)

    monkeypatch.setattr(Image.Image, "save", failing)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        filled(folder)[0].write()
    if isinstance(error, OSError):
        assert str(caught.value).startswith(f"cannot write {folder}: No space left on device: make room")
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(Image.Image, "save", save)
    filled(folder)[0].write()
    assert (folder / "pgd-20.npz").is_file()


def test_what_a_dead_process_left_is_removed(tmp_path):
    left = tmp_path / ".album.part"
    left.mkdir()
    (left / "half.npz").write_bytes(b"half")
    filled(tmp_path / "album")[0].write()
    assert [path.name for path in tmp_path.iterdir()] == ["album"]
    assert not (tmp_path / "album" / "half.npz").exists()
