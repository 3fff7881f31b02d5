"""ResNet-18 at 224×224 with random weights: for speed only, its answers mean nothing.

The arithmetic of a network does not depend on what its weights are, so its time does not either. The weights are
drawn, then the statistics of batch normalization are measured on random images and the last bias centers the
scores, so that every layer sees numbers of a sane size and the scores differ from image to image. Quality is the
agreement with the unoptimized model; it shows whether an optimization computes the same function, and says
nothing about the accuracy that a trained network would keep.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.parts.images import bilinear
from harness.zoo import Model, Split, SplitName, part_files

SIDE = 224
CLASSES = 1000
EXAMPLES = {"train": 32, "calibration": 64, "test": 64}
COARSE = 8  # pixels a side of the large shapes in an image
FINE = 0.5  # how strong the noise is beside them
STATISTICS_BATCH = 16


def data(split: SplitName) -> Split:
    """Return a split: inputs (n, 3, 224, 224) float32 around 0, smooth shapes with noise; no targets."""
    count = EXAMPLES[split]
    # RandomState, because numpy promises that its stream never changes; default_rng's may.
    random = np.random.RandomState(list(EXAMPLES).index(split))
    weights = bilinear(COARSE, SIDE)
    shapes = weights @ random.standard_normal((count, 3, COARSE, COARSE)).astype(np.float32) @ weights.T
    noise = random.standard_normal((count, 3, SIDE, SIDE)).astype(np.float32)
    return Split(((shapes + np.float32(FINE) * noise).astype(np.float32),))


def build(seed: int) -> Any:
    """Return the network in evaluation mode: (n, 3, 224, 224) → class scores (n, 1000)."""
    import torch

    from harness.parts.residual import resnet18

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = resnet18(3, CLASSES)
    images: Any = torch.from_numpy(data("calibration").inputs[0])
    measure_statistics(network, images)
    with torch.no_grad():
        last: Any = network[-1]
        last.bias -= torch.cat([network(part) for part in images.split(STATISTICS_BATCH)]).mean(0)
    return network


def measure_statistics(network: Any, images: Any) -> None:
    """Set the running statistics of all batch normalizations to their mean over ``images`` (n, c, h, w)."""
    import torch
    from torch import nn

    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    usual = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches
    network.train()
    with torch.no_grad():
        for part in images.split(STATISTICS_BATCH):
            network(part)
    for layer, momentum in zip(layers, usual, strict=True):
        layer.momentum = momentum
    network.eval()


MODEL = Model(
    name="resnet18-224",
    task="image classification",
    summary="random weights: speed only. ResNet-18 at 224×224×3, 1000 classes, random images",
    build=build,
    data=data,
    metric="cosine-agreement",
    source="drawn at random here",
    license="Apache-2.0",
    files=part_files("residual", "images"),
    extra="torch",
    synthetic=True,
)
