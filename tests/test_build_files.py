"""Builds of models that read files beside packages: what the files hold is a part of what the model is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.artifacts import REFERENCE
from harness.build import Builder
from harness.cache import Cache
from harness.errors import UnsupportedError
from harness.schema import PassSpec
from tests.conftest import fake_trial


def key(folder: Path, *names: str) -> str:
    """The artifact's key of a model that reads these files."""
    builder = Builder(fake_trial(), 0, Cache(folder / "cache"), lambda step: None)
    files = tuple(folder / name for name in names)
    builder.model = replace(builder.model, files=files, remedy="fetch it")
    return builder.key()


def test_another_content_of_a_file_makes_another_artifact(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(b"one")
    first = key(tmp_path, "images")
    assert key(tmp_path, "images") == first != key(tmp_path)
    (tmp_path / "images").write_bytes(b"two")
    assert key(tmp_path, "images") != first


def test_where_a_file_lies_makes_no_other_artifact(tmp_path: Path) -> None:
    for name in ("a", "z", "b"):
        (tmp_path / name).write_bytes(b"same" if name != "z" else b"other")
    assert key(tmp_path, "a", "z") == key(tmp_path, "b", "z")


def test_a_file_that_is_missing_ends_the_build_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"images is missing: fetch it"):
        key(tmp_path, "images")


def test_small_batches_are_checked_on_several_calls(tmp_path: Path) -> None:
    # One example whose outputs lie near zero would make any rounding a large relative error.
    trial = replace(fake_trial(), batch_size=5)
    built = Builder(trial, 0, Cache(tmp_path / "cache"), lambda step: None)
    built.backend = type("Static", (type(built.backend),), {"static_batch": True})()
    with np.load(built.build().directory / REFERENCE) as stored:
        assert stored["input_0"].shape == stored["output_0"].shape == (7, 5, 4)
        assert stored["examples"] == 35


def test_a_model_is_not_trained_again_for_the_package_of_a_later_pass(tmp_path: Path) -> None:
    def first_stage(*passes: PassSpec) -> str:
        trial = replace(fake_trial(), backend="torch", model="digits-cnn", passes=passes)
        return Builder(trial, 0, Cache(tmp_path / "cache"), lambda step: None)._stage_key([])

    assert first_stage(PassSpec("quantize.dynamic-int8")) == first_stage()
