"""Counted work against counts by hand: torch and ONNX must agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.schema import Unmeasured, Work
from harness.work import count_work

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from torch import nn  # noqa: E402

from harness.backends.base import LowerRequest  # noqa: E402
from harness.backends.onnx_export import export_onnx  # noqa: E402
from harness.zoo import OnnxFile  # noqa: E402


def counted(module: Any, *shapes: tuple[int, ...], directory: Path) -> Work:
    work = count_work(module, inputs(*shapes), shapes[0][0], directory)
    assert isinstance(work, Work), work
    return work


def inputs(*shapes: tuple[int, ...]) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def lowered(module: nn.Module, directory: Path, *shapes: tuple[int, ...]) -> OnnxFile:
    names = tuple(f"input_{i}" for i in range(len(shapes)))
    export_onnx(module.eval(), LowerRequest(inputs(*shapes), names, ("output",), directory, {}), dynamic_batch=True)
    return OnnxFile(directory / "model.onnx")


# flops of one example by hand: 2 × multiply-adds
KNOWN = {
    "linear": (nn.Linear(10, 20), (4, 10), 2 * 10 * 20),
    "convolution": (nn.Conv2d(3, 8, 3), (2, 3, 10, 10), 2 * 8 * 8 * 8 * 3 * 9),
    "strided": (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 9, 9), 2 * 6 * 5 * 5 * 4 * 9),
    "grouped": (nn.Conv2d(6, 12, 3, padding=1, groups=3), (2, 6, 8, 8), 2 * 12 * 8 * 8 * 2 * 9),
    "depthwise": (nn.Conv2d(6, 6, 5, groups=6), (2, 6, 8, 8), 2 * 6 * 4 * 4 * 25),
    "dilated": (nn.Conv1d(2, 3, 3, dilation=2), (2, 2, 12), 2 * 3 * 8 * 2 * 3),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 5, 5), 2 * 25 * 4 * 6 * 9),
    "transposed and grouped": (nn.ConvTranspose2d(4, 6, 3, groups=2), (2, 4, 5, 5), 2 * 25 * 4 * 3 * 9),
}


@pytest.mark.parametrize("name", KNOWN)
def test_torch_and_onnx_count_what_the_hand_counts(name: str, tmp_path: Path) -> None:
    module, shape, flops = KNOWN[name]
    assert counted(module, shape, directory=tmp_path).flops == flops
    file = lowered(module, tmp_path, (shape[0] + 1, *shape[1:]))
    assert counted(file, shape, directory=tmp_path).flops == flops


def test_a_network_is_the_sum_of_its_layers_and_names_what_it_leaves_out(tmp_path: Path) -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)
    ).eval()
    flops = 2 * 4 * 36 * 9 + 2 * 36 * 5
    work = counted(module, (3, 1, 8, 8), directory=tmp_path)
    assert work.flops == flops
    assert {"relu", "max_pool2d_with_indices"} <= set(work.uncounted)
    file = counted(lowered(module, tmp_path, (3, 1, 8, 8)), (3, 1, 8, 8), directory=tmp_path)
    assert file.flops == flops
    assert {"Relu", "MaxPool"} <= set(file.uncounted)
    assert file.source == "the ONNX graph, on 3 examples"


def test_what_moves_is_the_weights_once_and_each_example_in_and_out(tmp_path: Path) -> None:
    work = counted(nn.Linear(10, 20), (4, 10), directory=tmp_path)
    assert (work.input_bytes, work.output_bytes) == (40, 80)
    assert work.weight_bytes == 4 * (10 * 20 + 20)
    assert work.weight_format == "float32"
    assert work.bytes_of(1) == 880 + 120
    assert work.bytes_of(8) == 880 + 8 * 120
    assert work.flops_of(8) == 8 * work.flops


def test_half_precision_weights_weigh_half(tmp_path: Path) -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(10, 20).to(torch.bfloat16)

        def forward(self, x: Any) -> Any:
            return self.inner(x.to(torch.bfloat16))

    work = counted(Half(), (4, 10), directory=tmp_path)
    assert (work.weight_bytes, work.weight_format) == (2 * 220, "bfloat16")
    assert work.output_bytes == 80  # float32 in host memory


def test_int8_weights_weigh_a_quarter_and_the_arithmetic_stays(tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    module = nn.Linear(100, 200)
    plain = counted(module, (4, 100), directory=tmp_path)
    file = lowered(module, tmp_path, (4, 100))
    quantize_dynamic(file.path, tmp_path / "int8.onnx")
    (tmp_path / "int8.onnx").replace(file.path)
    work = counted(module, (4, 100), directory=tmp_path)
    assert work.flops == plain.flops
    assert work.weight_format == "int8"
    assert 0.25 < work.weight_bytes / plain.weight_bytes < 0.27
    assert counted(file, (4, 100), directory=tmp_path).flops == plain.flops  # MatMulInteger


@pytest.mark.parametrize("fixed", [True, False])
def test_attention_counts_its_four_projections_and_two_products(fixed: bool, tmp_path: Path) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.attention(x, x, x, need_weights=False)[0]

    flops = 2 * 4 * 5 * 16 * 16 + 2 * 2 * 5 * 5 * 16
    assert counted(Block(), (2, 5, 16), directory=tmp_path).flops == flops
    if fixed:
        file = lowered(Block(), tmp_path, (2, 5, 16))
        assert counted(file, (2, 5, 16), directory=tmp_path).flops == flops


def test_the_recurrence_of_an_lstm_is_counted_in_both(tmp_path: Path) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.LSTM(4, 8, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.inner(x)[0]

    flops = 2 * 3 * (4 * 8 * 4 + 4 * 8 * 8)
    assert counted(Last(), (2, 3, 4), directory=tmp_path).flops == flops
    path = tmp_path / "lstm.onnx"
    weights = {"w": (1, 32, 4), "r": (1, 32, 8)}
    graph(
        path, [onnx.helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=8)], {"x": (3, 2, 4)}, ["y"], weights
    )
    work = count_work(OnnxFile(path), inputs((3, 2, 4)), 2, tmp_path)
    assert isinstance(work, Work)
    assert work.flops == flops


def graph(
    path: Path,
    nodes: list[Any],
    fed: dict[str, tuple[Any, ...]],
    outputs: list[str],
    weights: dict[str, tuple[int, ...]],
) -> None:
    f32 = onnx.TensorProto.FLOAT
    made = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info(name, f32, list(shape)) for name, shape in fed.items()],
        [onnx.helper.make_tensor_value_info(name, f32, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights.items()],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(made, opset_imports=opset, ir_version=9), str(path))


def test_a_shape_that_cannot_be_inferred_is_observed(tmp_path: Path) -> None:
    node = onnx.helper.make_node
    nodes = [
        node("NonZero", ["x"], ["where"]),  # as many columns as there are values that are not 0
        node("Cast", ["where"], ["columns"], to=onnx.TensorProto.FLOAT),
        node("Transpose", ["columns"], ["rows"]),
        node("MatMul", ["rows", "w"], ["y"]),
    ]
    path = tmp_path / "observed.onnx"
    graph(path, nodes, {"x": ("batch", 3)}, ["y"], {"w": (2, 7)})
    work = count_work(OnnxFile(path), (np.ones((4, 3), np.float32),), 4, tmp_path)
    assert isinstance(work, Work)
    assert work.flops == 2 * 12 * 2 * 7 / 4


@pytest.mark.parametrize(
    ("equation", "flops"), [("bij,bjk->bik", 2 * 2 * 3 * 4 * 5), ("bij, bjk -> b", 2 * 2 * 3 * 4 * 5)]
)
def test_einsum_is_the_product_of_all_its_indices(equation: str, flops: int, tmp_path: Path) -> None:
    path = tmp_path / "einsum.onnx"
    graph(
        path,
        [onnx.helper.make_node("Einsum", ["x", "z"], ["y"], equation=equation)],
        {"x": (2, 3, 4), "z": (2, 4, 5)},
        ["y"],
        {},
    )
    work = count_work(OnnxFile(path), inputs((2, 3, 4), (2, 4, 5)), 2, tmp_path)
    assert isinstance(work, Work)
    assert work.flops == flops / 2


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_takes_its_inner_size_from_the_right_side(transposed: int, tmp_path: Path) -> None:
    path = tmp_path / "gemm.onnx"
    left = (3, 5) if transposed else (5, 3)
    graph(
        path, [onnx.helper.make_node("Gemm", ["x", "w"], ["y"], transA=transposed)], {"x": left}, ["y"], {"w": (3, 7)}
    )
    work = count_work(OnnxFile(path), inputs(left), 1, tmp_path)
    assert isinstance(work, Work)
    assert work.flops == 2 * 5 * 3 * 7


def test_what_may_be_heavy_and_has_no_formula_gives_no_number(tmp_path: Path) -> None:
    work = count_work(nn.Bilinear(3, 4, 5), inputs((2, 3), (2, 4)), 2, tmp_path)
    assert work == Unmeasured("torch's counter has no formula for trilinear")
    then = onnx.helper.make_graph([], "t", [], [])
    nodes = [onnx.helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=then)]
    path = tmp_path / "if.onnx"
    graph(path, nodes, {"x": (1,)}, ["y"], {"c": ()})
    assert count_work(OnnxFile(path), inputs((1,)), 1, tmp_path) == Unmeasured(
        "the arithmetic of If in the ONNX graph has no formula here"
    )


def test_a_model_without_products_of_matrices_says_so(tmp_path: Path) -> None:
    work = count_work(nn.ReLU(), inputs((2, 3)), 2, tmp_path)
    assert work == Unmeasured("the model has no product of matrices to count")
    assert isinstance(count_work(lambda x: x, inputs((2, 3)), 2, tmp_path), Unmeasured)


def test_a_module_that_the_counter_cannot_follow_is_a_reason(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Any) -> Any:
            raise RuntimeError("on purpose")

    work = count_work(Odd(), inputs((2, 3)), 2, tmp_path)
    assert work == Unmeasured("torch's counter cannot follow the module: RuntimeError: on purpose")
