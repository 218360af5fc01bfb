"""Fixtures of tests that read images: a cache folder, and small sets in torchvision's files."""

import pytest
from torchvision_files import write_small


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The test's own cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("FOLDER", "CIFAR10"):
        monkeypatch.delenv(f"ROBUST_TICKETS_{name}", raising=False)
    return tmp_path / "cache" / "robust-tickets"


@pytest.fixture
def small_set(tmp_path, monkeypatch):
    """Writes a small set by its name; gives torchvision's root."""
    return lambda name: write_small(name, tmp_path, monkeypatch)
