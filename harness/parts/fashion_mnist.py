"""Fashion-MNIST from Debian's package, enlarged: 70 000 grey images of ten kinds of clothing.

Xiao, Rasul, Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms (2017);
MIT license. ``HARNESS_FASHION_MNIST`` names another folder with the same four files.
"""

from __future__ import annotations

import functools
import gzip
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError
from harness.zoo import Split, SplitName

FOLDER = Path(os.environ.get("HARNESS_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
REMEDY = "apt-get install dataset-fashion-mnist, or name its folder in HARNESS_FASHION_MNIST"
NAMES = {"train": "train", "test": "t10k"}
FILES = tuple(FOLDER / f"{name}-{kind}-ubyte.gz" for name in NAMES.values() for kind in ("images-idx3", "labels-idx1"))
SIDE = 28
CLASSES = 10
TEST_EXAMPLES = 5000
CALIBRATION_EXAMPLES = 512


def fashion_mnist(split: SplitName, side: int, examples: int) -> Split:
    """Return a split: inputs (n, 1, side, side) float32 in 0 … 1, targets (n,) int64 in 0 … 9.

    ``train`` is the first ``examples`` of the 60 000 training images and ``calibration`` the first 512 of them;
    ``test`` is the first 5000 of the 10 000 test images. (The files are shuffled already.)
    """
    images, targets = _read("test" if split == "test" else "train")
    count = {"train": examples, "calibration": CALIBRATION_EXAMPLES, "test": TEST_EXAMPLES}[split]
    return Split((enlarged(images[:count], side),), targets[:count])


def enlarged(images: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Return (n, h, w) grey images as (n, 1, side, side) in 0 … 1, bilinear between the centers of the pixels."""
    rows, columns = _weights(images.shape[1], side), _weights(images.shape[2], side)
    result = np.empty((len(images), 1, side, side), dtype=np.float32)
    for start in range(0, len(images), 1024):  # by parts: floats of all images at once would double the memory
        part = images[start : start + 1024].astype(np.float32) / 255.0
        result[start : start + 1024, 0] = rows @ part @ columns.T
    return result


def _weights(size: int, side: int) -> NDArray[np.float32]:
    """Return (side, size): how much each pixel of a line counts for each pixel of the longer line."""
    centers = np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)
    distance = np.abs(centers[:, np.newaxis] - np.arange(size))
    return np.maximum(0.0, 1.0 - distance).astype(np.float32)


@functools.cache
def _read(part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images = read_idx(FOLDER / f"{NAMES[part]}-images-idx3-ubyte.gz")
    return images, read_idx(FOLDER / f"{NAMES[part]}-labels-idx1-ubyte.gz").astype(np.int64)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of bytes in a gzipped IDX file (LeCun's format); raises UserError for another content."""
    try:
        with gzip.open(path) as file:
            content = file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}): {REMEDY}") from error
    if content[:3] != b"\0\0\x08":
        raise UserError(f"{path} holds no IDX array of bytes")
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, 4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if len(values) != int(np.prod(shape)):
        raise UserError(f"{path} is cut off: {len(values)} bytes of {int(np.prod(shape))}")
    return values.reshape(shape)
