"""Convolutional networks with shortcuts: the one module torch lacks, and ResNet-18 made of it.

A model file imports no torch at its top, so a class that a pickle must find again cannot live there.
"""

from __future__ import annotations

import math

import torch
from torch import nn

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels and stride of ResNet-18's four stages


class Residual(nn.Module):
    """``activation(body(x) + shortcut(x))``: (n, c, h, w) → whatever body and shortcut both give."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the body changes to what the shortcut keeps."""
        result: torch.Tensor = self.activation(self.body(x) + self.shortcut(x))
        return result


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a padded convolution without bias and its batch normalization."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


def resnet18(channels: int, classes: int) -> nn.Sequential:
    """Return ResNet-18: images (n, channels, h, w) → scores (n, classes), weights drawn from torch's global state.

    Architecture and He's initialization after He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition
    (2015), table 1, with projections where the shape changes (option B).
    """
    width = STAGES[0][0]
    layers = [*convolution(channels, width, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    for outputs, stride in STAGES:
        layers += [_basic_block(width, outputs, stride), _basic_block(outputs, outputs, 1)]
        width = outputs
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
    initialize(network)
    return network


def initialize(network: nn.Module) -> None:
    """Draw the weights of all convolutions by He et al. (Delving Deep into Rectifiers, 2015) from what they feed.

    An input feeds as many outputs as its own group has: without the groups, a depthwise convolution would start
    so small that its first steps were large ones.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            fed = layer.out_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
            nn.init.normal_(layer.weight, std=math.sqrt(2 / fed))


def _basic_block(inputs: int, outputs: int, stride: int) -> Residual:
    body = [*convolution(inputs, outputs, 3, stride), nn.ReLU(inplace=True), *convolution(outputs, outputs, 3)]
    same = stride == 1 and inputs == outputs
    shortcut = nn.Identity() if same else nn.Sequential(*convolution(inputs, outputs, 1, stride))
    return Residual(nn.Sequential(*body), shortcut, nn.ReLU(inplace=True))
