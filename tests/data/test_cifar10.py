"""CIFAR-10 on its way into memory: decoded once, anew where the cache is damaged or the source another.

The last tests are of the real data, where ROBUST_TICKETS_CIFAR10 says where they lie.
"""

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from robust_tickets.base.errors import InputError
from robust_tickets.data import load
from robust_tickets.data.dataset import SPECS, training_images
from robust_tickets.data.load import CIFAR10_CLASSES
from robust_tickets.recipe.fields import Data

PLACE = os.environ.get("ROBUST_TICKETS_CIFAR10")
real = pytest.mark.skipif(not PLACE, reason="needs ROBUST_TICKETS_CIFAR10")


def files(seed=0, kind="PNG"):
    """Two images a class for training, one for testing."""
    chance = np.random.default_rng(seed)
    made = {}
    for name in CIFAR10_CLASSES:
        for place in ("test/{}/0", "train/{}/0", "train/{}/1"):
            file = io.BytesIO()
            Image.fromarray(chance.integers(0, 256, (32, 32, 3), np.uint8)).save(file, kind)
            made[f"{place.format(name)}.{kind.lower()}"] = file.getvalue()
    return made


def as_tree(root, contents):
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def as_tar(path, contents):
    with tarfile.open(path, "w") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ROBUST_TICKETS_CIFAR10", raising=False)
    return tmp_path / "cache" / "robust-tickets"


@pytest.fixture
def small(monkeypatch):
    """CIFAR-10 as if it had twenty training images and ten test images."""
    monkeypatch.setitem(SPECS, "cifar10", replace(SPECS["cifar10"], train_images=20, test_images=10))


def small_data(root):
    return Data("cifar10", root=root, val_images=5)


def no_decoding(monkeypatch):
    def decode(*arguments):
        raise AssertionError("decoded again")

    monkeypatch.setattr("robust_tickets.data.image_tree.decode", decode)


def same(ours, theirs):
    return (ours.title, ours.fingerprint) == (theirs.title, theirs.fingerprint) and all(
        torch.equal(getattr(getattr(ours, part), field), getattr(getattr(theirs, part), field))
        for part in ("train", "val", "test")
        for field in ("images", "labels", "ids")
    )


@pytest.mark.parametrize("packed", [False, True], ids=["tree", "archive"])
def test_the_second_load_reads_the_cache_and_gives_the_same(tmp_path, monkeypatch, small, cache, packed):
    root = as_tar(tmp_path / "a.tar", files()) if packed else as_tree(tmp_path / "tree", files())
    first = load.load(small_data(root))
    assert (len(first.train), len(first.val), len(first.test)) == (15, 5, 10)
    assert len({i for part in (first.train, first.val, first.test) for i in part.ids.tolist()}) == 30
    no_decoding(monkeypatch)
    assert same(load.load(small_data(root)), first)
    assert len(list(cache.iterdir())) == 1


def test_tree_and_archive_are_the_same_data(tmp_path, small):
    tree, archive = as_tree(tmp_path / "tree", files()), as_tar(tmp_path / "a.tar", files())
    assert same(load.load(small_data(tree)), load.load(small_data(archive)))


@pytest.mark.parametrize(("kind", "title"), [("PNG", "CIFAR-10"), ("JPEG", "CIFAR-10 (JPEG copy)")])
def test_a_jpeg_copy_is_called_one_from_the_cache_too(tmp_path, small, kind, title):
    root = as_tree(tmp_path / "tree", files(kind=kind))
    assert [load.load(small_data(root)).title for _ in range(2)] == [title, title]


def test_an_archive_is_known_by_its_content_and_not_by_its_place(tmp_path, monkeypatch, small, cache):
    first = load.load(small_data(as_tar(tmp_path / "a.tar", files(0))))
    second = load.load(small_data(as_tar(tmp_path / "a.tar", files(1))))
    assert first.fingerprint != second.fingerprint
    assert len(list(cache.iterdir())) == 2
    no_decoding(monkeypatch)
    assert same(load.load(small_data(as_tar(tmp_path / "elsewhere.tar", files(0)))), first)


@pytest.mark.parametrize("what", ["another file", "a file more"])
def test_a_tree_that_changed_is_decoded_anew(tmp_path, monkeypatch, small, what):
    tree = as_tree(tmp_path / "tree", files())
    first = load.load(small_data(tree))
    changed = tree / "train" / "cat" / "0.png"
    if what == "another file":
        changed.write_bytes(files(1)["train/cat/0.png"])
        os.utime(changed, ns=(1, 1))
    else:
        monkeypatch.setitem(SPECS, "cifar10", replace(SPECS["cifar10"], train_images=21))
        (tree / "train" / "cat" / "2.png").write_bytes(changed.read_bytes())
    assert load.load(small_data(tree)).fingerprint != first.fingerprint


SPOILERS = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "text": lambda content: b"no tensors",
    "header": lambda content: content[:20] + b"\xff" + content[21:],
    "a pixel": lambda content: content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:],
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
def test_a_damaged_cache_is_made_anew(tmp_path, monkeypatch, small, cache, spoil):
    root = as_tar(tmp_path / "a.tar", files())
    first = load.load(small_data(root))
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(spoil(whole))
    assert same(load.load(small_data(root)), first)
    assert file.read_bytes() == whole
    no_decoding(monkeypatch)
    assert same(load.load(small_data(root)), first)


def test_a_decoding_that_fails_leaves_no_cache(tmp_path, small, cache):
    root = as_tar(tmp_path / "a.tar", files() | {"train/cat/9.png": b"no image"})
    for _ in range(2):
        with pytest.raises(InputError, match=r"train/cat/9\.png"):
            load.load(small_data(root))
    assert not cache.exists() or not list(cache.iterdir())


def test_a_cache_that_cannot_be_written_is_no_hindrance(tmp_path, monkeypatch, small):
    root = as_tar(tmp_path / "a.tar", files())
    first = load.load(small_data(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(root))  # a file, where a folder should be
    assert same(load.load(small_data(root)), first)


@pytest.mark.parametrize(("train", "val"), [(0, 5), (0, 500), (1000, 5), (10, 500)])
def test_fewer_images_than_cifar_has_are_never_taken_for_what_was_asked(tmp_path, train, val):
    which = Data("cifar10", root=as_tar(tmp_path / "a.tar", files()), train_images=train, val_images=val)
    try:
        made = load.load(which)
    except InputError as error:
        assert "20" in str(error)  # noqa: PT017 (either is allowed)
    else:
        assert (len(made.train), len(made.val)) == (training_images(which, SPECS["cifar10"]), val)


def test_an_archive_cut_between_two_images_is_refused(tmp_path, small):
    archive = as_tar(tmp_path / "a.tar", files())
    with tarfile.open(archive) as whole:
        last = whole.getmembers()[-1]  # the second image of its class, so that no class is missing
    archive.write_bytes(archive.read_bytes()[: last.offset])
    with pytest.raises(InputError):
        load.load(small_data(archive))


def test_the_environment_names_the_place_and_the_recipe_goes_before_it(tmp_path, monkeypatch, small):
    monkeypatch.setenv("ROBUST_TICKETS_CIFAR10", str(as_tar(tmp_path / "a.tar", files(0))))
    by_environment = load.load(small_data(None))
    assert same(by_environment, load.load(small_data(tmp_path / "a.tar")))
    other = load.load(small_data(as_tar(tmp_path / "b.tar", files(1))))
    assert other.fingerprint != by_environment.fingerprint


HOW_TO_GET_IT = ("--data.root", "ROBUST_TICKETS_CIFAR10", "--data.download")


@pytest.mark.parametrize("root", [None, "nowhere.tar", "empty"])
def test_where_there_is_no_cifar_the_ways_to_get_it_are_said(tmp_path, root):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        load.load(small_data(tmp_path / root if root else None))
    assert all(word in str(caught.value) for word in [*HOW_TO_GET_IT, root or ""])


def test_a_download_that_fails_is_said_and_goes_to_the_root(tmp_path, monkeypatch):
    import torchvision.datasets

    asked = []

    class Unreachable(torchvision.datasets.CIFAR10):
        def __init__(self, root, train, download):
            asked.append((Path(root), download))
            raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Unreachable)
    lines = []
    with pytest.raises(InputError, match="no route to host"):
        load.load(Data("cifar10", root=tmp_path / "here", download=True), lines.append)
    assert asked == [(tmp_path / "here", True)]
    assert len(lines) == 1
    assert str(tmp_path / "here") in lines[0]


def test_the_digits_need_no_place(tmp_path):
    for which in (Data("digits", root=tmp_path), Data("digits", download=True)):
        with pytest.raises(InputError, match="come with scikit-learn"):
            load.load(which)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """CIFAR-10 loaded twice into a cache of its own, the second time without a decoder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUST_TICKETS_CIFAR10", PLACE)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        lines = []
        first = load.load(Data("cifar10", val_images=5000), lines.append)
        patch.setattr("robust_tickets.data.image_tree.decode", None)
        return first, load.load(Data("cifar10", val_images=5000)), lines


@pytest.fixture(scope="module")
def cifar(loaded):
    return loaded[0]


@real
def test_the_real_data_are_the_same_from_the_cache(loaded):
    first, second, lines = loaded
    assert first.fingerprint == second.fingerprint
    assert first.title == second.title
    for part in ("train", "val", "test"):
        for field in ("images", "labels", "ids"):
            assert torch.equal(getattr(getattr(first, part), field), getattr(getattr(second, part), field))
    assert len(lines) <= 1


@real
def test_the_real_data_have_the_images_that_we_know_beforehand(cifar):
    spec = SPECS["cifar10"]
    assert (len(cifar.train), len(cifar.val), len(cifar.test)) == (45_000, 5000, 10_000)
    assert len(cifar.train) + len(cifar.val) == spec.train_images
    assert len(cifar.test) == spec.test_images
    assert sorted(torch.cat([p.ids for p in (cifar.train, cifar.val, cifar.test)]).tolist()) == list(
        range(60_000)
    )
    for part, share in ((cifar.train, 4500), (cifar.val, 500), (cifar.test, 1000)):
        assert torch.bincount(part.labels).tolist() == [share] * 10
        assert part.images.shape[1:] == spec.shape
        assert part.images.dtype == torch.uint8


@real
def test_the_real_mean_and_deviation_are_those_the_net_is_given_channel_by_channel(cifar):
    pixels = torch.cat([cifar.train.images, cifar.val.images])
    for channel, (mean, std) in enumerate(zip(SPECS["cifar10"].mean, SPECS["cifar10"].std, strict=True)):
        one = pixels[:, channel].float().div_(255)
        assert abs(float(one.mean()) - mean) < 0.003
        assert abs(float(one.std()) - std) < 0.003


@real
def test_the_real_data_are_called_what_they_are(cifar):
    if Path(PLACE).is_dir():
        jpeg = any(Path(PLACE).glob("train/*/*.jp*g"))
    else:
        with tarfile.open(PLACE, "r|*") as archive:
            jpeg = any(member.name.lower().endswith((".jpg", ".jpeg")) for member in archive)
    assert cifar.title == ("CIFAR-10 (JPEG copy)" if jpeg else "CIFAR-10")
