"""Fashion-MNIST from Debian's package, enlarged, and how a network is trained on it at little cost.

70 000 grey images of ten kinds of clothing. Xiao, Rasul, Vollgraf: Fashion-MNIST: a Novel Image Dataset for
Benchmarking Machine Learning Algorithms (2017); MIT license. ``HARNESS_FASHION_MNIST`` names another folder with
the same four files.
"""

from __future__ import annotations

import functools
import gzip
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError
from harness.parts.images import enlarged
from harness.zoo import Split, SplitName

FOLDER = Path(os.environ.get("HARNESS_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
REMEDY = "apt-get install dataset-fashion-mnist, or name the folder that holds it in HARNESS_FASHION_MNIST"
_PARTS = {"train": "train", "test": "t10k"}
FILES = tuple(FOLDER / f"{part}-{kind}-ubyte.gz" for part in _PARTS.values() for kind in ("images-idx3", "labels-idx1"))
SOURCE = "Fashion-MNIST (Debian's dataset-fashion-mnist); weights trained here"
CLASSES = 10
TEST_EXAMPLES = 5000
TRAIN_EXAMPLES = 24_000  # of the split; float32 images at 64×64 take 16 kB each
CALIBRATION_EXAMPLES = 512


@dataclass(frozen=True)
class Round:
    """One pass over ``examples`` training images that no earlier round has seen, enlarged to ``side``."""

    side: int
    examples: int
    learning_rate: float
    batch_size: int


def fashion_mnist(split: SplitName, side: int) -> Split:
    """Return a split: inputs (n, 1, side, side) float32 in 0 … 1, targets (n,) int64 in 0 … 9.

    ``train`` is the first of the 60 000 training images and ``calibration`` the first 512 of them; ``test`` is
    the first 5000 of the 10 000 test images. (The files come shuffled.)
    """
    images, targets = _read("test" if split == "test" else "train")
    count = {"train": TRAIN_EXAMPLES, "calibration": CALIBRATION_EXAMPLES, "test": TEST_EXAMPLES}[split]
    return Split((enlarged(images[:count], side),), targets[:count])


def train(network: Any, rounds: tuple[Round, ...], seed: int) -> Any:
    """Train a torch network in place, round after round, and return it in evaluation mode.

    A network learns most of what it can at a small size, where an image costs a quarter; the last round moves it
    to the size that it is used at.
    """
    import torch
    from torch.nn.functional import cross_entropy

    from harness.passes.train import fit

    network.to(memory_format=torch.channels_last)  # a tenth faster to train; the result does not keep it
    images, targets = _read("train")
    begin = 0
    for number, each in enumerate(rounds):
        part = slice(begin, begin + each.examples)
        begin += each.examples
        split = Split((enlarged(images[part], each.side),), targets[part])
        fit(
            network,
            split,
            cross_entropy,
            epochs=1,
            learning_rate=each.learning_rate,
            batch_size=each.batch_size,
            seed=seed + number,
        )
    return network.to(memory_format=torch.contiguous_format).eval()


@functools.cache
def _read(part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images = read_idx(FOLDER / f"{_PARTS[part]}-images-idx3-ubyte.gz")
    return images, read_idx(FOLDER / f"{_PARTS[part]}-labels-idx1-ubyte.gz").astype(np.int64)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of bytes in a gzipped IDX file (LeCun's format); raises UserError for anything else."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error}): {REMEDY}") from error
    if content[:3] != b"\0\0\x08":
        raise UserError(f"{path} holds no IDX array of bytes: {REMEDY}")
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, 4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if len(values) != int(np.prod(shape)):
        raise UserError(f"{path} is cut off, {len(values)} bytes of {int(np.prod(shape))}: {REMEDY}")
    return values.reshape(shape)
