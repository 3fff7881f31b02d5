"""A click model of the DLRM family."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn


class ClickModel(nn.Module):
    """Ids of user, movie and set of genres, (n,) int64 each, and dense features (n, d) → logits of a click (n, 1).

    After Naumov et al., Deep Learning Recommendation Model (2019): a bottom network brings the dense features to
    the width of the embeddings, all pairs of these vectors are multiplied, and a top network reads the products
    beside the bottom vector.
    """

    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(self, tables: tuple[int, int, int], bottom: Sequence[int], top: Sequence[int]) -> None:
        """Take the rows of the three tables and the widths of both networks; the bottom's are d … the vectors' own."""
        super().__init__()
        width = bottom[-1]
        self.embeddings = nn.ModuleList(nn.Embedding(rows, width) for rows in tables)
        self.bottom = perceptron(bottom, last=nn.ReLU())
        pairs = torch.tril_indices(len(tables) + 1, len(tables) + 1, offset=-1)
        self.register_buffer("rows", pairs[0], persistent=False)
        self.register_buffer("columns", pairs[1], persistent=False)
        self.top = perceptron((width + pairs.shape[1], *top, 1), last=None)
        for table in self.embeddings:
            nn.init.normal_(table.weight, std=width**-0.5)  # type: ignore[arg-type]

    def forward(
        self, user: torch.Tensor, movie: torch.Tensor, genres: torch.Tensor, dense: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits of a batch; the inputs are named one by one, because exporters cannot free ``*inputs``."""
        ids = (user, movie, genres)
        first = self.bottom(dense)
        vectors = torch.stack([first, *(table(each) for table, each in zip(self.embeddings, ids, strict=True))], dim=1)
        products = torch.bmm(vectors, vectors.transpose(1, 2))[:, self.rows, self.columns]
        logits: torch.Tensor = self.top(torch.cat([first, products], dim=1))
        return logits


def perceptron(widths: Sequence[int], last: nn.Module | None) -> nn.Sequential:
    """Return linear layers of these widths with ReLU between them, and ``last`` after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1], *([last] if last is not None else []))
