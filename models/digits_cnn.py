"""A small CNN on scikit-learn's digits: trained here in seconds, no download.

1797 grey 8×8 images of handwritten digits, ten classes. A permutation with a fixed seed gives 540 of them to
``test`` and the other 1257 to ``train``; ``calibration`` is 256 examples of the train part, so it never sees
the test part. The data set is easy and its parts share their writers: accuracies near 99 % say little about
digits in the wild, but they are stable enough to show what an optimization breaks.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.zoo import Model, Split, SplitName

TEST_EXAMPLES = 540
CALIBRATION_EXAMPLES = 256
CHANNELS = (32, 64, 128)
CLASSES = 10


@functools.cache
def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return all images as (1797, 1, 8, 8) in 0 … 1 and their classes, in a fixed shuffled order."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, np.newaxis]
    # RandomState, because numpy promises that its stream never changes; default_rng's may.
    order = np.random.RandomState(0).permutation(len(images))
    return images[order], digits.target.astype(np.int64)[order]


def data(split: SplitName) -> Split:
    """Return a split: inputs (n, 1, 8, 8) float32 in 0 … 1, targets (n,) int64 in 0 … 9."""
    images, targets = _digits()
    part = {
        "test": slice(0, TEST_EXAMPLES),
        "train": slice(TEST_EXAMPLES, None),
        "calibration": slice(TEST_EXAMPLES, TEST_EXAMPLES + CALIBRATION_EXAMPLES),
    }[split]
    return Split((images[part],), targets[part])


def build(seed: int) -> Any:
    """Return the trained network in evaluation mode: (n, 1, 8, 8) → class scores (n, 10).

    Stock layers in a Sequential, so that a pickle of it loads in any process that has torch.
    """
    import torch
    from torch import nn

    from harness.passes.train import fit

    def convolution(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    narrow, middle, wide = CHANNELS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            *convolution(1, narrow),
            *convolution(narrow, middle),
            nn.MaxPool2d(2),
            *convolution(middle, wide),
            nn.AvgPool2d(4),
            nn.Flatten(),
            nn.Linear(wide, CLASSES),
        )
    fit(network, data("train"), loss, epochs=10, learning_rate=3e-3, batch_size=64, seed=seed)
    return network.eval()


def loss(outputs: Any, targets: Any) -> Any:
    """Return the mean cross-entropy of scores (n, 10) against classes (n,)."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(outputs, targets)


MODEL = Model(
    name="digits-cnn",
    task="image classification",
    summary="three convolutions (32, 64, 128 channels) on 8×8 handwritten digits, trained here",
    build=build,
    data=data,
    loss=loss,
    metric="accuracy",
    source="scikit-learn's load_digits (UCI Optical Recognition of Handwritten Digits); weights trained here",
    license="Apache-2.0 (network), CC BY 4.0 (data)",
    packages=("scikit-learn",),
    extra="models",
)
