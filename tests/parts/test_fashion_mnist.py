from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from harness.errors import UserError
from harness.parts import fashion_mnist as parts
from harness.parts.fashion_mnist import Round, fashion_mnist, read_idx

from .fashion_files import COUNTS, write_fashion, write_idx


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_fashion(tmp_path)
    monkeypatch.setattr(parts, "FOLDER", tmp_path)
    parts._read.cache_clear()
    yield tmp_path
    parts._read.cache_clear()


def test_a_split_has_images_of_the_asked_side_and_classes(folder) -> None:
    train, calibration, test = (fashion_mnist(name, 32) for name in ("train", "calibration", "test"))
    assert [len(s) for s in (train, calibration, test)] == [600, 512, 40]
    assert train.inputs[0].shape == (600, 1, 32, 32)
    assert train.inputs[0].dtype == np.float32
    assert train.targets.dtype == np.int64
    assert set(test.targets) <= set(range(10))
    assert np.array_equal(calibration.inputs[0], train.inputs[0][:512])


def test_rounds_see_different_images_and_leave_a_network_that_answers(folder, monkeypatch) -> None:
    torch = pytest.importorskip("torch")
    seen = []

    def fit(network, split, loss, **settings):
        seen.append((split, settings))

    monkeypatch.setattr("harness.passes.train.fit", fit)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    rounds = (Round(28, 100, 1e-2, 50), Round(32, 50, 1e-3, 25))
    trained = parts.train(network, rounds, seed=7)
    assert trained is network
    assert not network.training
    assert network[0].weight.is_contiguous()
    (first, settings), (second, last) = seen
    assert first.inputs[0].shape == (100, 1, 28, 28)
    assert second.inputs[0].shape == (50, 1, 32, 32)
    assert np.array_equal(second.targets, parts._read("train")[1][100:150])
    assert settings == {"epochs": 1, "learning_rate": 1e-2, "batch_size": 50, "seed": 7}
    assert last == {"epochs": 1, "learning_rate": 1e-3, "batch_size": 25, "seed": 8}


def test_a_missing_folder_is_named_with_the_remedy(tmp_path) -> None:
    with pytest.raises(UserError, match=r"t10k.*cannot be read.*apt-get install dataset-fashion-mnist"):
        read_idx(tmp_path / "t10k-images-idx3-ubyte.gz")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"not even gzip", "cannot be read"), (gzip.compress(b"\0\0\x0dx"), "no IDX array of bytes")],
)
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        read_idx(tmp_path / "x.gz")


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "x.gz", np.zeros((2, 3)))
    whole = gzip.decompress((tmp_path / "x.gz").read_bytes())
    (tmp_path / "x.gz").write_bytes(gzip.compress(whole[:-1]))
    with pytest.raises(UserError, match="cut off, 5 bytes of 6"):
        read_idx(tmp_path / "x.gz")


def test_the_small_files_of_these_tests_read_as_written(folder) -> None:
    assert read_idx(folder / "train-images-idx3-ubyte.gz").shape == (COUNTS["train"], 28, 28)
