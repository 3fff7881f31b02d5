from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from harness.measure.quality import METRICS
from harness.zoo import load_model, model_path

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Keep torch to one thread: two that wait for each other crawl on a busy host."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model():
    return load_model("digits-cnn")


@pytest.fixture(scope="module")
def network(model):
    return model.build(0)


def test_listing_the_model_imports_neither_torch_nor_sklearn():
    code = "import sys; from harness.zoo import load_model; load_model('digits-cnn'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "sklearn"} & set(loaded.split())


def test_splits_have_the_documented_shapes_and_ranges(model):
    for name, n in [("train", 1257), ("calibration", 256), ("test", 540)]:
        split = model.data(name)
        assert split.inputs[0].shape == (n, 1, 8, 8)
        assert split.inputs[0].dtype == np.float32
        assert split.inputs[0].min() >= 0
        assert split.inputs[0].max() == 1
        assert split.targets.shape == (n,)
        assert set(split.targets) == set(range(10))


def test_calibration_is_a_part_of_train_and_test_is_apart(model):
    train, calibration, test = (model.data(n).inputs[0] for n in ("train", "calibration", "test"))
    assert np.array_equal(calibration, train[: len(calibration)])
    assert len(train) + len(test) == 1797
    assert not {x.tobytes() for x in train} & {x.tobytes() for x in test}


def test_training_reaches_98_percent(model, network):
    test = model.data("test")
    with torch.inference_mode():
        outputs = network(torch.from_numpy(test.inputs[0])).numpy()
    assert outputs.shape == (540, 10)
    assert METRICS.get(model.metric).score((outputs,), test.targets).mean() >= 0.98


def test_the_same_seed_builds_the_same_network_and_leaves_the_global_generator_alone(model, network):
    before = torch.random.get_rng_state()
    again = model.build(0)
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_the_network_is_built_in_evaluation_mode_without_gradients(network):
    assert not any(m.training for m in network.modules())
    assert all(p.grad is None for p in network.parameters())


def test_the_pickled_network_loads_in_a_fresh_process_without_the_model_file(network, tmp_path):
    torch.save(network, tmp_path / "network.pt")
    code = (
        f"import sys, torch; m = torch.load({str(tmp_path / 'network.pt')!r}, weights_only=False);"
        "assert m(torch.zeros(2, 1, 8, 8)).shape == (2, 10); assert 'harness' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_the_file_is_found_by_the_model_name():
    assert model_path("digits-cnn").name == "digits_cnn.py"
