"""What tests of own images share."""

import pytest


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ROBUST_TICKETS_FOLDER", raising=False)
    return tmp_path / "cache" / "robust-tickets"
