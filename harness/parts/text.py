"""A text classifier on top of a pretrained encoder."""

from __future__ import annotations

import torch
from torch import nn


class SentenceClassifier(nn.Module):
    """Token ids and their mask, (n, tokens) int64 each → scores (n, classes).

    The mean of the encoder's last states over the tokens that the mask keeps, then one linear layer.
    """

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(width, classes)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the scores; every example needs at least one token."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask, return_dict=False)[0]
        kept = attention_mask.unsqueeze(-1).to(states.dtype)
        scores: torch.Tensor = self.head((states * kept).sum(1) / kept.sum(1))
        return scores
