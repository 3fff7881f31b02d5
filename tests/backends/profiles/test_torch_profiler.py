from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.base import SessionOptions
from harness.backends.profiles.torch_profiler import CALL, GENERATED, VIEWS, profile_torch, runs_on_cpu, runs_on_cuda
from harness.backends.torch_eager import TorchSession
from harness.schema import Execution, Unmeasured

torch = pytest.importorskip("torch")
BACKEND = BACKENDS.get("torch")
BATCH = (np.ones((4, 1, 8, 8), np.float32),)


def _profile(module, tmp_path):
    told = BACKEND.profile(tmp_path, SessionOptions(1, {}), TorchSession(module.eval()), [BATCH], 3)
    assert isinstance(told, Execution)
    assert sum(use.share for use in told.operators) == pytest.approx(1.0)
    return told


def _counts(told, kind):
    return {(use.name, use.format): use.count for use in told.operators if use.kind == kind}


def _network():
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 64))


class _Autocast(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = _network()

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.inner(x).float()


class _Half(torch.nn.Module):
    """Computes in bfloat16, but for one layer that was left in float32."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(64, 64).bfloat16()
        self.second = torch.nn.Linear(64, 64)

    def forward(self, x):
        return self.second(self.first(x.flatten(1).bfloat16()).float())


def test_each_layer_is_one_operator_and_not_the_chain_that_leads_to_it(tmp_path):
    told = _profile(_network(), tmp_path)
    assert sum(count for (_, number_format), count in _counts(told, "compute").items()) == 2
    assert told.formats == {"float32": 1.0}
    assert (told.basis, told.calls, told.fallbacks) == ("time", 3, ())
    assert isinstance(told.outside_share, Unmeasured) or 0.0 < told.outside_share < 1.0


def test_autocast_computes_in_bfloat16_between_casts(tmp_path):
    told = _profile(_Autocast(), tmp_path)
    assert told.formats == {"bfloat16": 1.0}
    casts = _counts(told, "conversion")
    assert casts["aten::copy_", "float32"] >= 4  # input and the weights and biases of two layers
    assert casts["aten::copy_", "bfloat16"] == 1  # the output


def test_a_layer_left_in_float32_is_said(tmp_path):
    told = _profile(_Half(), tmp_path)
    assert set(told.formats) == {"float32", "bfloat16"}
    assert told.fallbacks == ("1 of 2 matrix products ran in float32",)


def test_eager_weight_only_int8_is_shown_to_compute_in_float32(tmp_path):
    quantization = pytest.importorskip("torchao.quantization")
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 64))
    quantization.quantize_(module, quantization.Int8WeightOnlyConfig(set_inductor_config=False))
    assert _profile(module, tmp_path).formats == {"float32": 1.0}


def test_torchao_dynamic_int8_is_told_by_the_types_of_its_product(tmp_path):
    quantization = pytest.importorskip("torchao.quantization")
    config = quantization.Int8DynamicActivationInt8WeightConfig
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 64))
    quantization.quantize_(module, config(set_inductor_config=False))
    told = _profile(module, tmp_path)
    assert _counts(told, "compute") == {("aten::_int_mm", "int8"): 1.0}
    assert told.share("conversion") > 0


@dataclass
class _Event:
    """An event as the profiler gives it; times in µs."""

    name: str
    self_cpu_time_total: float = 1.0
    input_dtypes: tuple[str, ...] = ()
    cpu_children: list[_Event] = field(default_factory=list)
    self_device_time_total: float = 0.0
    cpu_parent: _Event | None = None

    def __post_init__(self):
        for child in self.cpu_children:
            child.cpu_parent = self


def _call(*children):
    return _Event(CALL, cpu_children=list(children))


def test_what_leads_to_the_work_is_dispatch_and_its_own_time_no_operators():
    inner = _Event("aten::addmm", 7.0, ("float", "float"), [_Event("aten::copy_", 1.0, ("float", "float"))])
    runs = list(runs_on_cpu(_call(_Event("aten::linear", 3.0, ("float",), [_Event("aten::t", 0.5), inner]))))
    assert [(run.name, run.kind, run.seconds) for run in runs] == [
        (VIEWS, "other", 0.5e-6), ("aten::addmm", "compute", 7e-6), ("aten::copy_", "other", 1e-6)
    ]  # fmt: skip


def test_a_convolution_that_puts_its_inputs_in_order_does_its_own_work():
    copy = _Event("aten::copy_", 2.0, ("c10::Half", "c10::Half"))
    ordered = _Event("aten::contiguous", 0.1, ("c10::Half",), [_Event("aten::clone", 0.1, ("c10::Half",), [copy])])
    kernel = _Event("aten::mkldnn_convolution", 90.0, ("c10::Half", "c10::Half"), [_Event("aten::empty"), ordered])
    runs = list(runs_on_cpu(_call(_Event("aten::conv2d", 1.0, ("c10::Half",), [kernel]))))
    compute = [(run.name, run.format, run.seconds) for run in runs if run.kind == "compute"]
    assert compute == [("aten::mkldnn_convolution", "float16", pytest.approx(90e-6))]
    assert [run.seconds for run in runs if run.kind == "conversion"] == [pytest.approx(2e-6)]


def test_convolutions_in_float16_are_seen_to_compute(tmp_path):
    class Half(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Sequential(torch.nn.Conv2d(1, 16, 3), torch.nn.Conv2d(16, 16, 3)).half()

        def forward(self, x):
            return self.inner(x.half()).float()

    told = _profile(Half(), tmp_path)
    assert told.formats == {"float16": 1.0}
    assert sum(_counts(told, "compute").values()) == 2


def test_what_a_quantization_is_made_of_is_conversion():
    inside = _Event("aten::round", 2.0, ("float",))
    [run] = runs_on_cpu(_call(_Event("torchao::quantize_affine", 5.0, ("float",), [inside])))
    assert (run.name, run.kind) == ("aten::round", "conversion")


def test_compiled_code_is_told_as_a_whole_and_its_guards_as_nothing():
    product = _Event("onednn::qlinear_pointwise", 9.0, ("unsigned char", "float"))
    graph = _Event("## Call CompiledFxGraph f0 ##", 4.0, (), [product])
    runs = list(
        runs_on_cpu(_call(_Event("TorchDynamo Cache Lookup"), _Event("Torch-Compiled Region: 0/0", 1.0, (), [graph])))
    )
    assert [(run.name, run.format) for run in runs] == [(GENERATED, ""), ("onednn::qlinear_pointwise", "int8")]


def test_on_a_gpu_operators_count_by_their_kernels():
    product = _Event("aten::addmm", 50.0, ("c10::Half", "c10::Half"), [_Event("cudaLaunchKernel")], 8.0)
    upload = _Event("aten::copy_", 20.0, ("float", "float"), [], 2.0)
    call = _call(_Event("aten::to", 1.0, ("float",), [upload]), _Event("aten::linear", 3.0, (), [product]))
    runs = list(runs_on_cuda(call))
    assert [(run.name, run.format, run.seconds) for run in runs] == [
        ("aten::copy_", "float32", 2e-6), ("aten::addmm", "float16", 8e-6)
    ]  # fmt: skip


def test_graph_breaks_and_recompiles_are_handed_through():
    session = TorchSession(torch.nn.Linear(8, 4).eval())
    told = profile_torch(session.timed, [BATCH], 3, graph_breaks=2, recompiles=1)
    assert isinstance(told, Execution)
    assert (told.graph_breaks, told.recompiles) == (2, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_device_the_products_kernel_is_seen():
    session = TorchSession(torch.nn.Linear(8, 4).eval().cuda(), device="cuda")
    told = profile_torch(session.timed, [BATCH], 3, cuda=True)
    assert isinstance(told, Execution)
    assert told.formats == {"float32": 1.0}
