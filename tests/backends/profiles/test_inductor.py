from __future__ import annotations

import zipfile

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.aoti_package import packaged_code
from harness.backends.base import LowerRequest, SessionOptions
from harness.backends.profiles import by_count, inductor
from harness.backends.profiles.inductor import missing_int8, profile_inductor, runs_of
from harness.backends.torch_eager import TorchSession
from harness.schema import Execution, Unmeasured

torch = pytest.importorskip("torch")
BACKEND = BACKENDS.get("inductor")

# Lines of a wrapper that torch 2.13 wrote for an INT8 network (PT2E), cut to what tells something.
INT8_WRAPPER = """\
    constants_info_[0].name = "_frozen_param4";
    constants_info_[0].dtype = cached_torch_dtype_int8;
    int32_t arg20_1_expected_dtype = aoti_torch_dtype_float32();
void AOTInductorModel::run_impl(
    AtenTensorHandle* input_handles
) {
    auto arg20_1 = std::move(inputs[0]);
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(4, a0, a1, cached_torch_dtype_uint8, cpu, 0, &buf0_handle));
    cpp_fused_quantize_per_tensor_0((const float*)(arg20_1.data_ptr()), (uint8_t*)(buf0.data_ptr()));
    int32_t var_0 = cached_torch_dtype_uint8;
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu__qconv_pointwise_tensor(buf0, x_scale, w, &var_0, &buf1_handle));
    cpp_fused_mean_quantize_per_tensor_1((const float*)(buf2.data_ptr()), (uint8_t*)(buf4.data_ptr()));
    int32_t var_4 = cached_torch_dtype_float32;
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu__qlinear_pointwise_tensor(buf4, x_scale_1, w, &var_4, &buf5_handle));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_addmm_out(buf7, bias, buf5, w));
}
"""
LOST_WRAPPER = """\
    constants_info_[0].name = "weight";
    constants_info_[0].dtype = cached_torch_dtype_int8;
void AOTInductorModel::run_impl() {
    cpp_fused_dequantize_per_channel_0((const int8_t*)(weight.data_ptr()), (float*)(buf0.data_ptr()));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(2, a0, a1, cached_torch_dtype_float32, cpu, 0, &buf1_handle));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_mm_out(buf1, buf0, buf0));
    // Topologically Sorted Source Nodes: [], Original ATen: [mylib.scale]
    aoti_torch_proxy_executor_call_function(proxy_executor, 0, 0, nullptr, 1, buf1);
}
"""


class _Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(16, 16), torch.nn.Linear(16, 4)

    def forward(self, x):
        return self.second(torch.nn.functional.gelu(self.first(x)))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A small network as a package; compiled once."""
    directory = tmp_path_factory.mktemp("package")
    inputs = (np.ones((2, 16), np.float32),)
    BACKEND.lower(_Network().eval(), LowerRequest(inputs, ("x",), ("y",), directory, {}))
    return directory


def _profile(package):
    how = SessionOptions(1, {})
    told = BACKEND.profile(package, how, BACKEND.load(package, how), [(np.ones((2, 16), np.float32),)], 3)
    assert isinstance(told, Execution)
    return told


def test_a_package_tells_its_products_and_loops_by_count(package):
    told = _profile(package)
    assert told.source.startswith("AOTInductor's packaged code (PyTorch's profiler explains ")
    assert told.basis == "count"
    assert isinstance(told.outside_share, Unmeasured)
    rows = {use.name: (use.format, use.kind, use.count) for use in told.operators}
    assert [row for row in rows.values() if row[1] == "compute"] == [("float32", "compute", 2.0)]
    assert any(name.startswith("cpp_fused_gelu") for name in rows)
    assert (told.formats, told.fallbacks) == ({"float32": 1.0}, ())


def test_times_are_used_where_the_profiler_explains_a_call(package, monkeypatch):
    monkeypatch.setattr(inductor, "ENOUGH_SEEN", 0.0)
    told = _profile(package)
    assert told.basis == "time"
    assert told.source.startswith("PyTorch profiler, which explains ")


def test_a_package_without_its_code_is_not_guessed_at(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("model/data/aotinductor/model/a.wrapper.so", b"")
    session = TorchSession(torch.nn.Linear(4, 2).eval())
    told = profile_inductor(tmp_path / "model.pt2", session, [(np.ones((1, 4), np.float32),)], 3)
    assert told == Unmeasured("model.pt2 holds no code that shows its calls")


def test_the_wrapper_and_the_loops_are_found_in_the_package(package):
    wrapper, kernels = packaged_code(package / "model.pt2")
    assert "AOTInductorModel::run_impl" in wrapper
    assert "cpp_fused" in kernels


def test_int8_calls_are_read_from_the_wrapper():
    runs = list(runs_of(INT8_WRAPPER, ""))
    assert [(run.name, run.format, run.kind) for run in runs] == [
        ("cpp_fused_quantize_per_tensor_0", "float32", "conversion"),
        ("_qconv_pointwise_tensor", "int8", "compute"),
        ("cpp_fused_mean_quantize_per_tensor_1", "float32", "other"),
        ("_qlinear_pointwise_tensor", "int8", "compute"),
        ("addmm_out", "float32", "compute"),  # by the element type that the call before it was asked for
    ]
    assert missing_int8(INT8_WRAPPER, runs) == ()
    assert sum(use.share for use in by_count([runs])) == pytest.approx(1.0)


def test_a_quantized_program_without_an_int8_call_says_so():
    runs = list(runs_of(LOST_WRAPPER, ""))
    assert [(run.name, run.format, run.kind) for run in runs] == [
        ("cpp_fused_dequantize_per_channel_0", "int8", "conversion"),
        ("mm_out", "float32", "compute"),
        ("mylib.scale", "float32", "other"),
    ]
    assert missing_int8(LOST_WRAPPER, runs) == (
        "the program is quantized, but calls no INT8 kernel: its products and convolutions ran in float32",
    )


def test_a_product_made_from_a_template_computes():
    loop = "    cpp_fused_addmm_0((const at::BFloat16*)(buf0.data_ptr()), (at::BFloat16*)(buf1.data_ptr()));"
    wrapper = f"void AOTInductorModel::run_impl() {{\n{loop}\n}}\n"
    kernels = 'extern "C"  void  cpp_fused_addmm_0(const bfloat16* X)\n{ cpp_fused_addmm_0_micro_gemm<false>(X); }\n'
    assert [(run.format, run.kind) for run in runs_of(wrapper, kernels)] == [("bfloat16", "compute")]
    assert [run.kind for run in runs_of(wrapper, "")] == ["other"]


class _JustInTime(TorchSession):
    def executed(self):
        return {**super().executed(), "mode": "just-in-time", "graph_breaks": 1, "recompiles": 0}


def test_just_in_time_code_is_watched_by_pytorchs_profiler(tmp_path):
    session = _JustInTime(torch.nn.Linear(4, 2).eval())
    told = profile_inductor(tmp_path / "model.pt2", session, [(np.ones((1, 4), np.float32),)], 3)
    assert isinstance(told, Execution)
    assert told.source.startswith("PyTorch profiler")
    assert (told.graph_breaks, told.recompiles, told.formats) == (1, 0, {"float32": 1.0})
