"""Fixtures shared by all rooms."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from harness.schema import Trial

# No deadline: a busy host is no failure.
settings.register_profile("harness", deadline=None)
settings.load_profile("harness")


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


@pytest.fixture
def own_imports(tmp_path: Path) -> Iterator[None]:
    """Forget, afterwards, the modules that a test imported from its own folder, and the folders it was given."""
    before = list(sys.path)
    yield
    sys.path[:] = before
    forget_modules_of(tmp_path)


def forget_modules_of(folder: Path) -> None:
    """Forget what was imported from a folder, as a new process would."""
    places = {
        # Not getattr: some modules (torch.classes) answer to any name.
        name: [vars(module).get("__file__") or "", *(vars(module).get("__path__") or ())]
        for name, module in list(sys.modules.items())
    }
    for name in places:
        if any(folder in Path(place).parents for place in places[name]):
            del sys.modules[name]
    importlib.invalidate_caches()
