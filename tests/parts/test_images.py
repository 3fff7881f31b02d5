from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.parts import images
from harness.parts.images import bilinear, enlarged


@given(st.integers(2, 30), st.integers(0, 40))
def test_the_weights_of_every_pixel_of_the_longer_line_add_up_to_one(size: int, more: int) -> None:
    weights = bilinear(size, size + more)
    assert weights.shape == (size + more, size)
    assert np.allclose(weights.sum(axis=1), 1.0, atol=1e-5)


def test_a_line_of_the_same_length_stays_and_a_ramp_stays_a_ramp() -> None:
    assert np.array_equal(bilinear(5, 5), np.eye(5))
    assert np.allclose(bilinear(2, 4) @ np.array([0.0, 1.0]), [0.0, 0.25, 0.75, 1.0])


def test_images_are_enlarged_in_parts_to_0_to_1(monkeypatch) -> None:
    grey = np.random.RandomState(0).randint(0, 256, (5, 4, 4)).astype(np.uint8)
    grey[0] = 255
    whole = enlarged(grey, 9)
    monkeypatch.setattr(images, "PART", 2)
    assert whole.shape == (5, 1, 9, 9)
    assert whole.dtype == np.float32
    assert np.allclose(whole[0], 1.0)
    assert np.array_equal(whole, enlarged(grey, 9))


def test_enlarging_is_what_torch_calls_bilinear() -> None:
    torch = pytest.importorskip("torch")
    grey = np.random.RandomState(0).randint(0, 256, (3, 28, 28)).astype(np.uint8)
    same = torch.nn.functional.interpolate(torch.from_numpy(grey[:, None] / np.float32(255)), size=64, mode="bilinear")
    assert np.allclose(enlarged(grey, 64), same.numpy(), atol=1e-5)
