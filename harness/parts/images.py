"""Images made larger, on host arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PART = 1024  # images at once: all of them as floats would double the memory


def enlarged(images: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Return (n, h, w) grey images as (n, 1, side, side) in 0 … 1, bilinear between the centers of the pixels."""
    rows, columns = bilinear(images.shape[1], side), bilinear(images.shape[2], side)
    result = np.empty((len(images), 1, side, side), dtype=np.float32)
    for start in range(0, len(images), PART):
        part = images[start : start + PART].astype(np.float32) / np.float32(255.0)
        result[start : start + PART, 0] = rows @ part @ columns.T
    return result


def bilinear(size: int, side: int) -> NDArray[np.float32]:
    """Return (side, size): how much each of ``size`` pixels counts for each of ``side`` ≥ ``size`` pixels."""
    centers = np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)
    distance = np.abs(centers[:, np.newaxis] - np.arange(size))
    return np.maximum(0.0, 1.0 - distance).astype(np.float32)
