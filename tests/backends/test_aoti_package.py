from __future__ import annotations

import zipfile

from harness.backends.aoti_package import constant_bytes, integer_kernels, kernel_calls, packaged_code

WRAPPER = """
    constants_info_[0].name = "bias";
    constants_info_[0].dtype = cached_torch_dtype_float32;
    constants_info_[0].data_size = 64;
    constants_info_[1].dtype = cached_torch_dtype_int8;
    constants_info_[1].data_size = 640;
    constants_info_[2].dtype = cached_torch_dtype_int8;
    constants_info_[2].data_size = 60;
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu__qconv_pointwise_tensor(buf0, x_scale, 1));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu__qconv_pointwise_tensor(buf1, x_scale, 1));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_addmm_out(buf2, buf1));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(2, 3));
"""


def test_integer_kernels_are_told_from_the_others():
    assert kernel_calls(WRAPPER) == {"qconv_pointwise": 2, "addmm": 1}
    assert integer_kernels(WRAPPER) == {"qconv_pointwise": 2}
    assert integer_kernels("aoti_torch_cpu_addmm_out(buf2, buf1)") == {}


def test_constants_are_summed_by_number_format():
    assert constant_bytes(WRAPPER) == {"float32": 64, "int8": 700}
    assert constant_bytes("") == {}


def test_the_code_is_read_from_the_package(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("model/data/abc.wrapper.cpp", WRAPPER)
        archive.writestr("model/data/abc.kernel.cpp", "aoti_torch_cpu__qlinear_pointwise_tensor(")
    assert packaged_code(tmp_path / "model.pt2")[0] == WRAPPER
