"""Networks of a few layers and random weights, one for each kind that passes treat differently, with their data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from harness.backends import BACKENDS
from harness.backends.base import LowerRequest
from harness.passes import BuildContext
from harness.zoo import Model, Split

BATCH = 8


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, stride=2)
        self.norm = nn.BatchNorm2d(32)
        self.last = nn.Linear(32, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.second(torch.relu(self.first(x)))))
        return self.last(x.mean((2, 3)))


class Perceptron(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 96), nn.ReLU(), nn.Linear(96, 8))


class Attention(nn.Module):
    """One encoder block on token ids: seven linear layers and two products of activations."""

    def __init__(self, width=64, heads=4):
        super().__init__()
        self.heads = heads
        self.embed = nn.Embedding(100, width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.last = nn.Linear(width, 3)

    def forward(self, ids):
        x = self.embed(ids)
        batch, tokens, width = x.shape
        query, key, value = (
            layer(x).view(batch, tokens, self.heads, -1).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        weights = torch.softmax(query @ key.transpose(-1, -2) / (width / self.heads) ** 0.5, -1)
        x = self.norms[0](x + self.out((weights @ value).transpose(1, 2).reshape(batch, tokens, width)))
        x = self.norms[1](x + self.down(nn.functional.gelu(self.up(x))))
        return self.last(x.mean(1))


@dataclass(frozen=True)
class Case:
    """A network, its examples, and where it lies as an artifact of each backend."""

    name: str
    module: nn.Module
    examples: np.ndarray
    artifacts: dict[str, Path]

    @property
    def context(self):
        split = Split((self.examples,))
        names = {"input_names": ("x",), "output_names": ("y",)}
        model = Model(self.name, "", "", lambda seed: self.module, lambda name: split, "", "", "", **names)
        return BuildContext(model, BATCH, 0, lambda name: split)

    @property
    def batch(self):
        return self.examples[:BATCH]

    def reference(self):
        with torch.inference_mode():
            return self.module(torch.from_numpy(self.batch)).numpy()

    def error(self, session):
        """Return the relative error of a session's outputs against the module's."""
        expected = self.reference()
        return float(np.linalg.norm(session((self.batch,))[0] - expected) / np.linalg.norm(expected))


def make(name, folder):
    """Return a case, exported for ONNX Runtime and OpenVINO."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    module, examples = {
        "convolutions": (Convolutions, rng.normal(size=(64, 3, 16, 16)).astype(np.float32)),
        "perceptron": (Perceptron, rng.normal(size=(64, 64)).astype(np.float32)),
        "attention": (Attention, rng.integers(0, 100, size=(64, 16))),
    }[name]
    module = module().eval().requires_grad_(False)
    artifacts = {}
    for backend in ("onnxruntime", "openvino"):
        artifacts[backend] = folder / backend
        artifacts[backend].mkdir()
        request = LowerRequest((examples[:BATCH],), ("x",), ("y",), artifacts[backend], {})
        BACKENDS.get(backend).lower(module, request)
    return Case(name, module, examples, artifacts)
