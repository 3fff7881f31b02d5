"""Fixtures shared by all rooms."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.schema import Trial


@pytest.fixture
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(folder))
    return folder


def fake_trial(name: str = "baseline", experiment: str = "e", **options: object) -> Trial:
    """Return a trial of the fake backend."""
    role = "baseline" if name == "baseline" else "variant"
    return Trial(name, experiment, "_fake", "fake", options=dict(options), role=role, batch_size=8)  # type: ignore[arg-type]
