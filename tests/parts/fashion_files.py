"""Four files as Fashion-MNIST's, with few small images."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

COUNTS = {"train": 600, "t10k": 40}


def write_idx(path: Path, array: np.ndarray) -> None:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


def write_fashion(folder: Path) -> None:
    """Write images whose class is how many of ten rows are white, so that a network can learn them."""
    random = np.random.RandomState(0)
    for part, count in COUNTS.items():
        targets = random.randint(0, 10, count)
        images = random.randint(0, 60, (count, 28, 28))
        for image, target in zip(images, targets, strict=True):
            image[: 2 + 2 * target] += 180
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", targets)
