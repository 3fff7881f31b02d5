from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import UserError
from harness.onnx_inputs import MOST_ATTEMPTS, choose_inputs, open_session, run_session
from harness.schema import InputSpec
from harness.userdata import synthetic
from tests.tiny_onnx import INT64, STRING, UINT8, helper, linear, node, save, tensor

pytest.importorskip("onnxruntime")

FLOATS = InputSpec("x", "float32", ("batch", 4))


def same(path: Path, *inputs: Any) -> Path:
    """Write a model that hands its inputs on."""
    outputs = [tensor(f"out_{i.name}", None, i.type.tensor_type.elem_type) for i in inputs]
    return save(path, [node("Identity", i.name, f"out_{i.name}") for i in inputs], inputs, outputs)


def shapes(specs: tuple[InputSpec, ...]) -> dict[str, tuple[int | str, ...]]:
    return {spec.name: spec.shape for spec in specs}


def runs(path: Path, specs: tuple[InputSpec, ...]) -> bool:
    """Whether the file really runs on what was chosen."""
    return bool(run_session(open_session(path), synthetic(specs, 1, "test").batch(1)))


def test_fixed_shapes_are_taken_as_they_are(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", batch=2)
    assert choose_inputs(path) == (InputSpec("x", "float32", (2, 4)),)
    assert runs(path, choose_inputs(path))


@pytest.mark.parametrize("symbol", ["N", "batch", "batch_size", "unk__17", None])
def test_a_first_axis_that_is_free_and_followed_by_the_outputs_is_the_batch(tmp_path: Path, symbol: str | None) -> None:
    path = linear(tmp_path / "m.onnx", batch=symbol)
    assert choose_inputs(path) == (FLOATS,)


def test_a_free_first_axis_that_an_output_does_not_follow_is_no_batch(tmp_path: Path) -> None:
    nodes = [node("ReduceMean", "x", "y", axes=[0], keepdims=1)]
    path = save(tmp_path / "m.onnx", nodes, [tensor("x", ["N", 4])], [tensor("y", [1, 4])])
    assert choose_inputs(path) == (InputSpec("x", "float32", (1, 4)),)


def test_a_first_axis_that_is_fixed_in_one_of_two_inputs_is_no_batch(tmp_path: Path) -> None:
    nodes = [node("Add", "a b", "y")]
    path = save(tmp_path / "m.onnx", nodes, [tensor("a", ["N", 4]), tensor("b", [1, 4])], [tensor("y", ["N", 4])])
    assert shapes(choose_inputs(path)) == {"a": (1, 4), "b": (1, 4)}


def conv(path: Path, kernel: int = 3, **attributes: Any) -> Path:
    weights = np.ones((2, 3, kernel, kernel), np.float32)
    image, maps = tensor("image", ["N", 3, "H", "W"]), tensor("y", ["N", 2, None, None])
    return save(path, [node("Conv", "image w", "y", **attributes)], [image], [maps], w=weights)


def test_free_height_and_width_get_the_likeliest_size(tmp_path: Path) -> None:
    path = conv(tmp_path / "m.onnx")
    assert choose_inputs(path) == (InputSpec("image", "float32", ("batch", 3, 224, 224)),)


def test_a_size_that_the_graph_needs_is_found_by_trying(tmp_path: Path) -> None:
    nodes = [node("Conv", "image w", "c", pads=[1, 1, 1, 1]), node("Add", "c plane", "y")]
    weights = {"w": np.ones((2, 3, 3, 3), np.float32), "plane": np.zeros((48, 48), np.float32)}
    image, maps = tensor("image", ["N", 3, "H", "W"]), tensor("y", ["N", 2, None, None])
    path = save(tmp_path / "m.onnx", nodes, [image], [maps], **weights)
    assert choose_inputs(path) == (InputSpec("image", "float32", ("batch", 3, 48, 48)),)


def test_height_and_width_may_differ(tmp_path: Path) -> None:
    nodes = [node("Add", "image plane", "y")]
    plane = np.zeros((32, 320), np.float32)
    image, maps = tensor("image", [1, 3, "H", "W"]), tensor("y", None)
    path = save(tmp_path / "m.onnx", nodes, [image], [maps], plane=plane)
    assert shapes(choose_inputs(path)) == {"image": (1, 3, 32, 320)}


def test_axes_of_one_symbol_get_one_size(tmp_path: Path) -> None:
    nodes = [node("MatMul", "a b", "y")]
    inputs = [tensor("a", ["batch", 3, "length"]), tensor("b", ["batch", "length", 5])]
    path = save(tmp_path / "m.onnx", nodes, inputs, [tensor("y", ["batch", 3, 5])])
    assert shapes(choose_inputs(path)) == {"a": ("batch", 3, 128), "b": ("batch", 128, 5)}


def test_several_inputs_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = same(tmp_path / "m.onnx", tensor("b", ["N", 2]), tensor("a", ["N", 3], INT64), tensor("c", ["N"], UINT8))
    assert choose_inputs(path) == (
        InputSpec("b", "float32", ("batch", 2)),
        InputSpec("a", "int64", ("batch", 3), 0, 2),
        InputSpec("c", "uint8", ("batch",), 0, 256),
    )


def test_a_scalar_sampling_rate_makes_the_model_stacked(tmp_path: Path) -> None:
    path = same(tmp_path / "m.onnx", tensor("sound", ["N", 512]), tensor("sr", [], INT64))
    specs = choose_inputs(path)
    assert specs == (InputSpec("sound", "float32", (1, 512)), InputSpec("sr", "int64", (), 16000, 16001))
    assert runs(path, specs)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("attention_mask", 1, 2),
        ("token_type_ids", 0, 1),
        ("segment_ids", 0, 1),
        ("sr", 16000, 16001),
        ("fs", 16000, 16001),
        ("sample_rate", 16000, 16001),
        ("sampling_rate", 16000, 16001),
        ("whatever", 0, 2),
    ],
)
def test_the_range_of_an_integer_input_follows_its_name(tmp_path: Path, name: str, low: int, high: int) -> None:
    [spec] = choose_inputs(same(tmp_path / "m.onnx", tensor(name, ["N", 4], INT64)))
    assert (spec.low, spec.high) == (low, high)


@pytest.mark.parametrize("between", [[], ["Identity"], ["Cast"], ["Cast", "Identity"]], ids=lambda b: "+".join(b))
def test_token_ids_stay_within_the_table_that_they_look_up(tmp_path: Path, between: list[str]) -> None:
    nodes, last = [], "ids"
    for i, kind in enumerate(between):
        nodes.append(node(kind, last, f"t{i}", **({"to": INT64} if kind == "Cast" else {})))
        last = f"t{i}"
    nodes.append(node("Gather", f"table {last}", "y", axis=0))
    table = np.zeros((11, 6), np.float32)
    path = save(tmp_path / "m.onnx", nodes, [tensor("ids", ["N", "length"], INT64)], [tensor("y", None)], table=table)
    assert choose_inputs(path) == (InputSpec("ids", "int64", ("batch", 128), 0, 11),)


def test_the_shortest_of_two_tables_bounds_the_ids(tmp_path: Path) -> None:
    nodes = [node("Gather", "long ids", "a"), node("Gather", "short ids", "b"), node("Add", "a b", "y")]
    tables = {"long": np.zeros((9, 2), np.float32), "short": np.zeros((5, 2), np.float32)}
    path = save(tmp_path / "m.onnx", nodes, [tensor("ids", ["N", 3], INT64)], [tensor("y", None)], **tables)
    assert choose_inputs(path)[0].high == 5


def test_a_gather_along_another_axis_is_bounded_by_that_axis(tmp_path: Path) -> None:
    nodes = [node("Gather", "table ids", "y", axis=1)]
    table = np.zeros((2, 7), np.float32)
    path = save(tmp_path / "m.onnx", nodes, [tensor("ids", [3], INT64)], [tensor("y", None)], table=table)
    assert choose_inputs(path)[0].high == 7


def test_ids_that_become_one_hot_stay_below_its_depth(tmp_path: Path) -> None:
    nodes = [node("OneHot", "ids depth values", "y")]
    weights = {"depth": np.array(13), "values": np.array([0.0, 1.0], np.float32)}
    path = save(tmp_path / "m.onnx", nodes, [tensor("ids", ["N"], INT64)], [tensor("y", None)], **weights)
    assert choose_inputs(path) == (InputSpec("ids", "int64", ("batch",), 0, 13),)


def test_weights_that_an_old_file_lists_among_its_inputs_are_no_inputs(tmp_path: Path) -> None:
    assert choose_inputs(linear(tmp_path / "m.onnx", listed=True, ir_version=3)) == (FLOATS,)


def test_given_inputs_are_respected_and_the_others_found(tmp_path: Path) -> None:
    path = same(tmp_path / "m.onnx", tensor("a", ["N", 3, "H", "W"]), tensor("b", ["N", "length"]))
    stated = InputSpec("a", "float32", (1, 3, 40, 60))
    assert choose_inputs(path, [stated]) == (stated, InputSpec("b", "float32", (1, 128)))


def test_a_size_that_is_given_holds_for_the_other_axes_of_its_symbol(tmp_path: Path) -> None:
    inputs = [tensor(name, ["N", "length"], INT64) for name in ("ids", "mask")]
    path = save(tmp_path / "m.onnx", [node("Add", "ids mask", "y")], inputs, [tensor("y", None, INT64)])
    assert shapes(choose_inputs(path, [InputSpec("ids", "int64", (1, 77))])) == {"ids": (1, 77), "mask": (1, 77)}


def test_a_batch_that_is_given_is_the_batch_of_every_input_that_has_one(tmp_path: Path) -> None:
    path = same(tmp_path / "m.onnx", tensor("a", ["N", 3, "H"]), tensor("b", ["N", 2]), tensor("c", [None, 4]))
    stated = InputSpec("a", "float32", ("batch", 3, 40))
    assert shapes(choose_inputs(path, [stated])) == {"a": ("batch", 3, 40), "b": ("batch", 2), "c": ("batch", 4)}


def test_a_batch_that_is_given_is_one_where_it_is_no_first_axis(tmp_path: Path) -> None:
    path = same(tmp_path / "m.onnx", tensor("x", ["N", 3]), tensor("state", [2, "N", 4]))
    stated = InputSpec("x", "float32", ("batch", 3))
    assert shapes(choose_inputs(path, [stated])) == {"x": ("batch", 3), "state": (2, 1, 4)}


def test_when_all_inputs_are_given_none_is_tried(tmp_path: Path) -> None:
    stated = InputSpec("x", "float32", ("batch", 999))  # would not run
    assert choose_inputs(linear(tmp_path / "m.onnx"), [stated]) == (stated,)


def test_a_given_input_keeps_the_files_number_format_and_range(tmp_path: Path) -> None:
    path = same(tmp_path / "m.onnx", tensor("attention_mask", ["N", "length"], INT64))
    [spec] = choose_inputs(path, [InputSpec("attention_mask", "float32", (1, 8))])
    assert spec == InputSpec("attention_mask", "int64", (1, 8), 1, 2)
    [spec] = choose_inputs(path, [InputSpec("attention_mask", "int64", (1, 8), 0, 50)])
    assert (spec.low, spec.high) == (0, 50)


def test_an_unknown_given_input_is_refused_with_the_closest_name(tmp_path: Path) -> None:
    path = same(tmp_path / "m.onnx", tensor("image", ["N", 4]))
    with pytest.raises(UserError) as caught:
        choose_inputs(path, [InputSpec("imagee", "float32", (1, 4))])
    assert str(caught.value) == "m.onnx has no input 'imagee'; did you mean 'image'?"


def test_an_input_of_texts_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = same(tmp_path / "m.onnx", tensor("words", ["N"], STRING))
    with pytest.raises(UserError) as caught:
        choose_inputs(path)
    assert str(caught.value) == "m.onnx: input 'words' is a tensor(string); only tensors of numbers can be fed"


def test_an_input_that_is_a_sequence_is_refused_in_one_sentence(tmp_path: Path) -> None:
    items = helper.make_tensor_sequence_value_info("items", 1, None)
    path = save(tmp_path / "m.onnx", [node("SequenceLength", "items", "n")], [items], [tensor("n", [], INT64)])
    with pytest.raises(UserError, match=r"^m\.onnx: input 'items' is a seq\(tensor\(float\)\); only tensors of num"):
        choose_inputs(path)


def test_when_no_size_runs_the_sentence_names_the_flag_that_states_it(tmp_path: Path) -> None:
    odd = np.zeros((37, 41), np.float32)
    nodes = [node("MatMul", "x odd", "y")]
    path = save(tmp_path / "m.onnx", nodes, [tensor("x", ["a", "b"])], [tensor("y", None)], odd=odd)
    with pytest.raises(UserError) as caught:
        choose_inputs(path)
    message = str(caught.value)
    assert message.startswith("m.onnx did not run with any of ")
    assert "--input 'x=1,3,224,224'" in message
    assert "the last try failed with: " in message
    assert "\n" not in message
    assert choose_inputs(path, [InputSpec("x", "float32", (5, 37))])


def test_the_number_of_tries_is_bounded(tmp_path: Path) -> None:
    inputs = [tensor(f"x{i}", [1, 3, f"h{i}", f"w{i}"]) for i in range(4)]
    nodes = [node("Sum", "x0 x1 x2 x3 odd", "y")]
    path = save(tmp_path / "m.onnx", nodes, inputs, [tensor("y", None)], odd=np.zeros((37, 41), np.float32))
    with pytest.raises(UserError, match=f"any of {MOST_ATTEMPTS} input sizes"):
        choose_inputs(path)


def test_a_file_that_is_no_onnx_model_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("no model")
    with pytest.raises(UserError) as caught:
        choose_inputs(path)
    assert str(caught.value).startswith(f"ONNX Runtime cannot open {path}: ")
    assert "\n" not in str(caught.value)
