from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness import doctor
from harness.doctor import Diagnosis, diagnose, floors, library_versions, places, size_bytes, to_json
from harness.environment import host_fingerprint
from harness.host.gpu import Gpu
from harness.noise import keep
from harness.reserve import host_lock
from harness.schema import Unmeasured
from tests.host.fake_root import write_root
from tests.test_noise import NOISE


@pytest.fixture
def found(tmp_path: Path, cache_dir: Path) -> Diagnosis:
    """A diagnosis of a quiet machine."""
    return diagnose(write_root(tmp_path / "root"))


def test_a_quiet_machine_is_in_no_danger(found: Diagnosis) -> None:
    assert found.dangers == ()
    assert found.facts.load.average_1m == 0.05
    assert "fake" not in found.backends


def test_everything_becomes_json_and_what_could_not_be_read_keeps_its_reason(found: Diagnosis) -> None:
    text = json.dumps(to_json(found))
    assert json.loads(text)["facts"]["cpu"]["governor"] == "performance"
    assert to_json(Unmeasured("no such file")) == {"not_readable": "no such file"}
    assert to_json((Gpu("G", "1", 5),)) == [{"name": "G", "driver": "1", "memory_bytes": 5}]


def test_nothing_can_be_measured_without_a_backend(found: Diagnosis) -> None:
    none = replace(found, backends={"torch": "torch not installed: pip install torch"})
    assert not none.can_measure
    assert replace(found, backends={**none.backends, "onnxruntime": None}).can_measure


def test_versions_name_what_is_missing_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "GENERAL", ("numpy", "no-such-library"))
    versions = library_versions(["torch"])
    assert versions["no-such-library"] is None
    assert versions["numpy"]
    assert {"python", "optimization-harness", "torch"} <= set(versions)


def test_the_noise_of_this_host_is_shown_with_what_it_resolves(cache_dir: Path, tmp_path: Path) -> None:
    noise = replace(NOISE, host=host_fingerprint()["id"])
    keep(noise)
    found = diagnose(write_root(tmp_path / "root"))
    assert found.noise == (noise,)
    [shown] = to_json(found)["noise"]
    assert [(r["replicates"], r["rounds"]) for r in shown["resolves"]] == [(3, 25), (5, 25), (10, 25)]
    assert list(floors(noise).values()) == sorted(floors(noise).values(), reverse=True)


def test_the_cache_and_its_size_are_found(cache_dir: Path) -> None:
    assert places().cache_bytes == 0
    (cache_dir / "a/b").mkdir(parents=True)
    (cache_dir / "a/b/file").write_bytes(b"12345")
    (cache_dir / "a/link").symlink_to("nowhere")
    assert (places().cache, places().cache_bytes) == (cache_dir, 5 + len("nowhere"))
    assert size_bytes(cache_dir / "missing") == 0


def test_the_lock_named_is_the_one_that_a_run_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert not places().lock.exists()
    with host_lock():
        assert places().lock.exists()
