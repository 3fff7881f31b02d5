from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from harness.parts.text import SentenceClassifier  # noqa: E402 (needs torch)


class Ids(torch.nn.Module):
    """An encoder whose only state of a token is its id."""

    def forward(self, input_ids, attention_mask, return_dict):
        assert not return_dict
        return (input_ids.unsqueeze(-1).float(),)


def test_a_sentence_is_the_mean_of_the_tokens_that_its_mask_keeps() -> None:
    model = SentenceClassifier(Ids(), 1, 2)
    torch.nn.init.ones_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    ids, mask = torch.tensor([[4, 8, 100], [5, 7, 9]]), torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert model(ids, mask).tolist() == [[6.0, 6.0], [7.0, 7.0]]
