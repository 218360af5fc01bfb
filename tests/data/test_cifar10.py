"""CIFAR-10 from image files: decoded once, and again if the cache is damaged or the source changed."""

import tarfile
from dataclasses import replace

import pytest
from image_folders import PACKED, as_tar, as_tree, contents, same, without

from robust_tickets.base.errors import InputError
from robust_tickets.data import load as loading
from robust_tickets.data.dataset import SPECS
from robust_tickets.data.load import CIFAR10_CLASSES
from robust_tickets.recipe.fields import Data


def files(**options):
    """Two images a class and part."""
    return contents(each=2, classes=CIFAR10_CLASSES, size=(32, 32), **options)


@pytest.fixture(autouse=True)
def _small(monkeypatch, cache):
    """CIFAR-10 as if it had twenty training images and as many test images."""
    monkeypatch.setitem(SPECS, "cifar10", replace(SPECS["cifar10"], train_images=20, test_images=20))


def load(root):
    return loading.load(Data("cifar10", root=root, val_images=5))


def no_decoding(monkeypatch):
    monkeypatch.setattr("robust_tickets.data.image_tree.decode", None)


@pytest.mark.parametrize(("kind", "title"), [("PNG", "CIFAR-10"), ("JPEG", "CIFAR-10 (JPEG copy)")])
@pytest.mark.parametrize("packed", ["tree", "tar"])
def test_the_second_load_reads_the_cache(tmp_path, monkeypatch, cache, packed, kind, title):
    root = PACKED[packed](tmp_path / "images", files(kind=kind))
    first = load(root)
    assert first.title == title
    assert (len(first.train), len(first.val), len(first.test)) == (15, 5, 20)
    assert len({i for part in (first.train, first.val, first.test) for i in part.ids.tolist()}) == 40
    no_decoding(monkeypatch)
    assert same(load(root), first)
    assert len(list(cache.iterdir())) == 1


def test_the_cache_depends_on_an_archive_s_content_and_not_on_its_path(tmp_path, monkeypatch, cache):
    first = load(as_tar(tmp_path / "a.tar", files()))
    second = load(as_tar(tmp_path / "a.tar", files(mode="L")))
    assert first.fingerprint != second.fingerprint
    assert len(list(cache.iterdir())) == 2
    no_decoding(monkeypatch)
    assert same(load(as_tar(tmp_path / "elsewhere.tar", files())), first)


DAMAGE = {
    "empty": lambda content: b"",
    "one byte short": lambda content: content[:-1],
    "header": lambda content: content[:20] + b"\xff" + content[21:],
    "a pixel": lambda content: content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_cache_is_replaced(tmp_path, monkeypatch, cache, damage):
    root = as_tar(tmp_path / "a.tar", files())
    first = load(root)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert same(load(root), first)
    assert file.read_bytes() == whole
    no_decoding(monkeypatch)
    assert same(load(root), first)


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch):
    root = as_tar(tmp_path / "a.tar", files())
    first = load(root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(root))  # a file, where a folder should be
    assert same(load(root), first)


def test_an_archive_cut_between_two_images_is_refused(tmp_path):
    archive = as_tar(tmp_path / "a.tar", files())
    with tarfile.open(archive) as whole:
        last = whole.getmembers()[-1]  # the second image of its class, so that no class is missing
    archive.write_bytes(archive.read_bytes()[: last.offset])
    with pytest.raises(InputError):
        load(archive)
    with pytest.raises(InputError, match="has 19 train images, and CIFAR-10 has 20: download it again"):
        load(as_tree(tmp_path / "tree", without(files(), "train/truck/1")))
