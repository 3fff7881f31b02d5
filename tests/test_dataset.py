from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.dataset import DataCard, TestData, numbered, read_card, read_test_data, write_test_data
from harness.zoo import Split

X = np.arange(12, dtype=np.float32).reshape(4, 3)
CARD = DataCard("accuracy", "test")


def there_and_back(folder: Path, data: TestData, card: DataCard = CARD) -> TestData:
    return read_test_data(write_test_data(folder, data, card))


def test_inputs_and_targets_read_as_they_were_written(tmp_path: Path) -> None:
    split = Split((X, X.astype(np.int64)), np.array([0, 1, 2, 0]))
    found = there_and_back(tmp_path, TestData(split))
    assert [a.dtype for a in found.split.inputs] == [np.float32, np.int64]
    assert all(np.array_equal(a, b) for a, b in zip(found.split.inputs, split.inputs, strict=True))
    assert found.split.targets is not None
    assert found.split.targets.tolist() == [0, 1, 2, 0]
    assert found.expected is None


def test_without_targets_the_expected_outputs_are_what_is_right(tmp_path: Path) -> None:
    found = there_and_back(tmp_path, TestData(Split((X,)), (X * 2, X.astype(np.int64))))
    assert found.split.targets is None
    first, second = found.right(1, 2)
    assert first.tolist() == (X * 2)[1:3].tolist()
    assert second.dtype == np.int64


def test_with_targets_the_targets_are_what_is_right() -> None:
    assert TestData(Split((X,), np.array([5, 6, 7, 8]))).right(2, 2).tolist() == [7, 8]


def test_expected_outputs_come_before_targets() -> None:
    assert TestData(Split((X,), np.arange(4)), (X,)).right(0, 1)[0].tolist() == [[0.0, 1.0, 2.0]]


@pytest.mark.parametrize("stacked", [True, False])
def test_whether_examples_are_stacked_is_kept(tmp_path: Path, stacked: bool) -> None:
    assert there_and_back(tmp_path, TestData(Split((X,), None, stacked))).split.stacked is stacked


def test_more_than_ten_inputs_keep_their_order(tmp_path: Path) -> None:
    inputs = tuple(np.full(2, i) for i in range(12))
    found = there_and_back(tmp_path, TestData(Split(inputs)))
    assert [int(a[0]) for a in found.split.inputs] == list(range(12))


@pytest.mark.parametrize(
    "card", [CARD, DataCard("cosine-agreement", "synthetic"), DataCard(None, "unlabeled", "outputs differ – in shape")]
)
def test_the_card_beside_the_data_reads_as_it_was_written(tmp_path: Path, card: DataCard) -> None:
    path = write_test_data(tmp_path, TestData(Split((X,))), card)
    assert read_card(path) == card


def test_numbered_arrays_are_taken_by_their_prefix(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", input_0=X, output_0=X + 1, output_1=X + 2, other=X)
    with np.load(tmp_path / "a.npz") as stored:
        assert [float(a[0, 0]) for a in numbered(stored, "output")] == [1.0, 2.0]
        assert numbered(stored, "none") == ()
