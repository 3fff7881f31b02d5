from __future__ import annotations

import numpy as np
import pytest

from harness.backends import BACKENDS, onnx_export
from harness.backends.base import SessionOptions
from harness.errors import UnsupportedError

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
BACKEND = BACKENDS.get("onnxruntime")


def test_a_measuring_process_loads_neither_torch_nor_onnx(lowered, fresh_python):
    code = f"""
import sys
import numpy as np
from pathlib import Path
from harness.backends import BACKENDS
from harness.backends.base import SessionOptions
backend = BACKENDS.get("onnxruntime")
backend.import_runtime()
session = backend.load(Path({str(lowered(BACKEND))!r}), SessionOptions(1, {{}}))
session((np.zeros((8, 1, 8, 8), np.float32),))
session.executed()
print(*sys.modules)
"""
    loaded = fresh_python(code).split()
    assert "onnxruntime" in loaded
    assert not {"torch", "onnx", "onnxscript"} & set(loaded)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_threads_told_are_those_that_started(lowered, threads):
    session = BACKEND.load(lowered(BACKEND), SessionOptions(threads, {}))
    assert session.executed()["threads"] == threads


@pytest.mark.parametrize("exported_at", [1, 8])
def test_the_batch_size_is_free_whatever_it_was_exported_at(exported_at, request_for, network, digits):
    request = request_for(exported_at)
    BACKEND.lower(network, request)
    session = BACKEND.load(request.directory, SessionOptions(1, {}))
    for size in (1, 3, 8):
        assert session(digits.data("test").batch(size))[0].shape == (size, 10)


@pytest.mark.parametrize("level", BACKEND.options["graph_optimization"])
def test_every_level_of_graph_optimization_gives_the_same_outputs(level, lowered, digits):
    batch = digits.data("test").batch(8)
    plain = BACKEND.load(lowered(BACKEND), SessionOptions(1, {}))
    session = BACKEND.load(lowered(BACKEND), SessionOptions(1, {"graph_optimization": level}))
    np.testing.assert_allclose(session(batch)[0], plain(batch)[0], rtol=1e-4, atol=1e-4)
    assert session.executed()["graph_optimization"] == level


def test_the_graph_has_the_models_names_and_one_file(lowered):
    graph = onnx.load(str(lowered(BACKEND) / "model.onnx")).graph
    assert [v.name for v in (*graph.input, *graph.output)] == ["input", "output"]
    assert [path.name for path in lowered(BACKEND).iterdir()] == ["model.onnx"]


def test_weights_too_large_for_one_file_lie_beside_it(request_for, network, digits, monkeypatch):
    monkeypatch.setattr(onnx_export, "EXTERNAL_DATA_BYTES", 0)
    request = request_for()
    BACKEND.lower(network, request)
    assert sorted(p.name for p in request.directory.iterdir()) == ["model.onnx", "model.onnx.data"]
    session = BACKEND.load(request.directory, SessionOptions(1, {}))
    assert session(digits.data("test").batch(2))[0].shape == (2, 10)


def test_an_operator_without_a_kernel_is_unsupported(request_for):
    class HalfBrain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(1, 4, 3).bfloat16()

        def forward(self, x):
            return self.layer(x.bfloat16()).float()

    request = request_for()
    BACKEND.lower(HalfBrain(), request)
    with pytest.raises(UnsupportedError, match="ONNX Runtime refuses the model"):
        BACKEND.load(request.directory, SessionOptions(1, {}))


class Branching(torch.nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class FixedBatch(torch.nn.Module):
    def forward(self, x):
        return x.reshape(8, 64)


def test_a_module_that_cannot_be_exported_is_unsupported_with_the_reason(request_for):
    with pytest.raises(UnsupportedError, match=r"ONNX export failed: \w+"):
        BACKEND.lower(Branching(), request_for())


def test_a_module_that_fixes_its_batch_size_is_unsupported_rather_than_silently_fixed(request_for):
    with pytest.raises(UnsupportedError, match="fixed the batch size at 8"):
        BACKEND.lower(FixedBatch(), request_for())


def test_a_quantized_model_is_told_as_int8(lowered, tmp_path):
    model = onnx.load(str(lowered(BACKEND) / "model.onnx"))
    model.producer_name = "onnx.quantize"  # as ONNX Runtime's quantizer signs it
    onnx.save(model, str(tmp_path / "model.onnx"))
    assert BACKEND.load(tmp_path, SessionOptions(1, {})).executed()["precision"] == "int8"


def test_a_model_that_tells_its_precision_is_believed(lowered, tmp_path):
    model = onnx.load(str(lowered(BACKEND) / "model.onnx"))
    onnx.helper.set_model_props(model, {"harness.precision": "int4 weights, int8"})
    onnx.save(model, str(tmp_path / "model.onnx"))
    assert BACKEND.load(tmp_path, SessionOptions(1, {})).executed()["precision"] == "int4 weights, int8"


class BFloat16Layer(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer.bfloat16()

    def forward(self, x):
        return self.layer(x.bfloat16()).float()


@pytest.mark.parametrize("layer", [torch.nn.Linear(8, 4), torch.nn.Conv2d(1, 4, 3)], ids=["linear", "convolution"])
def test_bfloat16_still_has_no_kernels_as_the_cast_says(request_for, layer):
    from harness.passes import PASSES

    assert "no bfloat16 kernels" in PASSES.get("cast.bfloat16").unsupported_on("onnxruntime")
    request = request_for()
    BACKEND.lower(BFloat16Layer(layer), request)
    with pytest.raises(UnsupportedError, match="ONNX Runtime refuses the model"):
        BACKEND.load(request.directory, SessionOptions(1, {}))


def test_a_level_that_an_older_version_lacks_is_unsupported_with_the_remedy(lowered, monkeypatch):
    import onnxruntime

    class Old:
        ORT_ENABLE_ALL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL

    monkeypatch.setattr(onnxruntime, "GraphOptimizationLevel", Old)
    with pytest.raises(UnsupportedError, match="has no level layout: pip install -U onnxruntime"):
        BACKEND.load(lowered(BACKEND), SessionOptions(1, {"graph_optimization": "layout"}))
