from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.schema import InputSpec
from harness.targets import Target
from harness.userdata import (
    SYNTHETIC_BYTES,
    example_shape,
    from_folder,
    from_function,
    is_stacked,
    positional,
    synthetic,
)
from harness.zoo import Split, SplitName

X = InputSpec("x", "float32", ("batch", 3))
IDS = InputSpec("ids", "int64", ("batch", 5), 0, 10)
WHOLE = InputSpec("x", "float32", (1, 3))  # no batch axis
SCALAR = InputSpec("sr", "int64", (), 16000, 16001)
HERE = Target("data.py", "data")


def rows(count: int, width: int = 3, dtype: str = "float32") -> Any:
    """Return (count, width), each row full of its own number."""
    return np.repeat(np.arange(count, dtype=dtype)[:, np.newaxis], width, axis=1)


def given_by(value: Any, *inputs: InputSpec, split: SplitName = "test") -> Split:
    return from_function(lambda name: value, HERE, inputs or (X,), split)


# -- synthetic ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", [(X,), (X, IDS), (WHOLE, SCALAR)], ids=["one", "two", "stacked"])
def test_synthetic_data_is_the_same_for_the_same_arguments(inputs: tuple[InputSpec, ...]) -> None:
    first, second = (synthetic(inputs, 20, "test") for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first.inputs, second.inputs, strict=True))
    assert first.targets is None


def test_synthetic_splits_differ() -> None:
    test, calibration = synthetic((X,), 20, "test"), synthetic((X,), 20, "calibration")
    assert not np.array_equal(test.inputs[0], calibration.inputs[0])


def test_calibration_has_at_most_32_synthetic_examples() -> None:
    assert len(synthetic((X,), 400, "calibration")) == 32
    assert len(synthetic((X,), 7, "calibration")) == 7
    assert len(synthetic((X,), 400, "test")) == 400


def test_examples_are_fewer_where_they_would_exceed_64_mb_but_never_fewer_than_8() -> None:
    megabyte = InputSpec("x", "float32", ("batch", 250, 1000))
    assert len(synthetic((megabyte,), 400, "test")) == SYNTHETIC_BYTES // 1_000_000
    large = InputSpec("x", "uint8", ("batch", 9_000_000), 0, 256)
    assert len(synthetic((large,), 400, "test")) == 8
    assert len(synthetic((large,), 2, "test")) == 2


def test_the_size_of_all_inputs_counts_against_the_64_mb() -> None:
    half = [InputSpec(name, "float32", ("batch", 250, 1000)) for name in "ab"]
    assert len(synthetic(half, 400, "test")) == SYNTHETIC_BYTES // 2_000_000


@given(
    st.sampled_from(["float32", "float16", "float64", "int64", "int32", "uint8", "bool"]),
    st.lists(st.one_of(st.integers(1, 4), st.just("batch")), max_size=1),
    st.lists(st.integers(1, 4), max_size=3),
    st.integers(1, 12),
)
def test_synthetic_examples_have_the_shape_and_number_format_that_is_asked_for(
    dtype: str, first: list[Any], rest: list[int], examples: int
) -> None:
    spec = InputSpec("x", dtype, (*first, *rest))
    split = synthetic((spec,), examples, "test")
    assert split.stacked is (first != ["batch"])
    assert split.inputs[0].shape == (examples, *(rest if first == ["batch"] else first + rest))
    assert split.inputs[0].dtype == np.dtype(dtype)


@given(st.floats(-100, 100), st.floats(0.01, 100))
def test_synthetic_floats_stay_in_their_range(low: float, width: float) -> None:
    values = synthetic((InputSpec("x", "float64", ("batch", 50), low, low + width),), 8, "test").inputs[0]
    assert ((values >= low) & (values <= low + width)).all()


@given(st.integers(-1000, 1000), st.integers(1, 300))
def test_synthetic_integers_stay_below_the_end_of_their_range(low: int, width: int) -> None:
    values = synthetic((InputSpec("x", "int64", ("batch", 50), low, low + width),), 8, "test").inputs[0]
    assert ((values >= low) & (values < low + width)).all()


@pytest.mark.parametrize(("dtype", "low", "high"), [("uint8", -1, 5), ("int8", 0, 300), ("bool", 0, 3)])
def test_a_range_that_the_number_format_cannot_hold_is_refused(dtype: str, low: float, high: float) -> None:
    with pytest.raises(UserError, match=f"^input 'x': {dtype} holds no values from {low} to {high}$"):
        synthetic((InputSpec("x", dtype, ("batch", 3), low, high),), 4, "test")


def test_synthetic_values_without_a_range_are_standard_normal_or_0_and_1() -> None:
    normal = synthetic((InputSpec("x", "float32", ("batch", 100)),), 400, "test").inputs[0]
    assert abs(normal.mean()) < 0.05
    assert abs(normal.std() - 1) < 0.05
    flags = synthetic((InputSpec("x", "int64", ("batch", 100)),), 400, "test").inputs[0]
    assert set(np.unique(flags)) == {0, 1}
    assert set(np.unique(synthetic((InputSpec("x", "bool", ("batch", 9)),), 40, "test").inputs[0])) == {False, True}


def test_a_model_with_one_input_that_has_no_batch_axis_is_stacked() -> None:
    assert is_stacked((X, SCALAR))
    assert is_stacked((WHOLE,))
    assert not is_stacked((X, IDS))
    assert example_shape(X, stacked=False) == (3,)
    assert example_shape(X, stacked=True) == (1, 3)
    assert example_shape(SCALAR, stacked=True) == ()


def test_a_stacked_batch_is_one_whole_call() -> None:
    split = synthetic((WHOLE, SCALAR), 4, "test")
    x, rate = split.batch(1, 2)
    assert (x.shape, rate.shape, int(rate)) == ((1, 3), (), 16000)


# -- from a function ---------------------------------------------------------------------------------------------


def test_a_function_is_asked_for_the_split_by_its_name() -> None:
    asked: list[str] = []

    def data(split: str) -> Any:
        asked.append(split)
        return rows(6)

    split = from_function(data, HERE, (X,), "calibration")
    assert asked == ["calibration"]
    assert np.array_equal(split.inputs[0], rows(6))
    assert split.targets is None
    assert not split.stacked


def test_a_function_that_takes_nothing_gives_everything_of_which_every_fourth_is_for_calibration() -> None:
    def data() -> Any:
        return rows(10), np.arange(10)

    test, calibration = (from_function(data, HERE, (X,), split) for split in ("test", "calibration"))
    assert test.targets is not None
    assert calibration.targets is not None
    assert calibration.targets.tolist() == [3, 7]
    assert sorted([*test.targets, *calibration.targets]) == list(range(10))
    assert test.inputs[0][:, 0].tolist() == test.targets.tolist()


@given(st.integers(2, 200))
def test_held_out_examples_are_in_one_split_only_and_none_is_lost(count: int) -> None:
    test, calibration = (from_function(lambda: rows(count), HERE, (X,), s) for s in ("test", "calibration"))
    kept, held = (set(split.inputs[0][:, 0].tolist()) for split in (test, calibration))
    assert kept
    assert held
    assert not kept & held
    assert kept | held == set(range(count))


def test_a_single_example_serves_both_splits() -> None:
    assert len(from_function(lambda: rows(1), HERE, (X,), "calibration")) == 1


@pytest.mark.parametrize(
    "value",
    [
        (rows(4), np.arange(4)),
        [rows(4)],
        {"x": rows(4)},
        ({"x": rows(4)}, np.arange(4)),
        ((rows(4),), np.arange(4)),
        rows(4).tolist(),
        rows(4)[:, np.newaxis],  # every example brought a batch axis of its own
        Split((rows(4),), np.arange(4)),
    ],
    ids=["pair", "list", "mapping", "mapping and targets", "tuple and targets", "lists", "batch of one", "Split"],
)
def test_one_input_is_taken_in_every_form(value: Any) -> None:
    if isinstance(value, list) and isinstance(value[0], list):
        value = np.asarray(value)
    split = given_by(value)
    assert len(split.inputs) == 1
    assert np.array_equal(split.inputs[0], rows(4))
    if isinstance(value, tuple):
        assert split.targets is not None
        assert split.targets.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("value", "labeled"),
    [
        ((rows(4), rows(4, 5, "int64")), False),
        (((rows(4), rows(4, 5, "int64")), np.arange(4)), True),
        ({"ids": rows(4, 5, "int64"), "x": rows(4)}, False),
        (({"ids": rows(4, 5, "int64"), "x": rows(4)}, np.arange(4)), True),
    ],
    ids=["pair", "pair and targets", "mapping", "mapping and targets"],
)
def test_two_inputs_are_taken_by_place_or_by_name(value: Any, labeled: bool) -> None:
    split = given_by(value, X, IDS)
    assert [a.shape for a in split.inputs] == [(4, 3), (4, 5)]
    assert (split.targets is not None) is labeled


def test_tensors_are_taken_as_well() -> None:
    torch = pytest.importorskip("torch")
    split = given_by((torch.from_numpy(rows(4)).requires_grad_(), torch.arange(4)))
    assert isinstance(split.inputs[0], np.ndarray)
    assert np.array_equal(split.inputs[0], rows(4))
    assert split.targets is not None
    assert split.targets.tolist() == [0, 1, 2, 3]


def test_a_model_without_a_batch_axis_gets_its_examples_stacked() -> None:
    split = given_by(rows(4)[:, np.newaxis], WHOLE)
    assert split.stacked
    assert split.batch(1)[0].shape == (1, 3)


def test_wider_or_narrower_numbers_of_the_same_kind_are_converted() -> None:
    assert given_by(rows(4, dtype="float64")).inputs[0].dtype == np.float32
    assert given_by(rows(4, 5, "int32"), IDS).inputs[0].dtype == np.int64
    assert given_by(rows(4, dtype="int64")).inputs[0].dtype == np.float32


@pytest.mark.parametrize(
    ("value", "inputs", "message"),
    [
        (rows(4, 5), (IDS,), r"^data\.py:data: input 'ids' is float32, the model takes int64; convert it there$"),
        (np.arange(4.0), (X,), r"^data\.py:data: input 'x' has shape \(4,\), expected \(examples, 3\)$"),
        (np.zeros((4, 2, 3)), (X,), r"input 'x' has shape \(4, 2, 3\), expected \(examples, 3\)"),
        ([rows(4), rows(4)], (X,), r"^data\.py:data gives 2 inputs, the model takes 1: x$"),
        (rows(4), (X, IDS), r"gives 1 inputs, the model takes 2: x, ids$"),
        ({"y": rows(4)}, (X,), r"^data\.py:data gives no 'x'; the model's inputs are: x$"),
        (rows(0), (X,), r"at least one\) examples in all arrays"),
        ((rows(4), np.arange(3)), (X,), r"equally many .* got \[3, 4\]"),
        (None, (X,), r"data\.py:data"),
        ("images", (X,), r"data\.py:data"),
    ],
)
def test_data_that_does_not_fit_the_model_is_refused(value: Any, inputs: tuple[InputSpec, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        given_by(value, *inputs)


def test_examples_of_another_size_than_the_model_states_are_refused() -> None:
    with pytest.raises(UserError, match=r"input 'x' has shape \(4, 7\), expected \(examples, 3\)"):
        given_by(rows(4, 7))


def test_a_batch_beside_an_input_without_one_counts_as_a_single_example() -> None:
    with pytest.raises(UserError, match=r"input 'x' has shape \(4, 3\), expected \(examples, 1, 3\)"):
        given_by({"x": rows(4), "sr": np.zeros(4, np.int64)}, X, SCALAR)
    split = given_by({"x": rows(4)[:, np.newaxis], "sr": np.zeros(4, np.int64)}, X, SCALAR)
    assert [a.shape for a in split.batch(1)] == [(1, 3), ()]


def test_a_function_that_raises_is_named() -> None:
    def data(split: str) -> Any:
        raise FileNotFoundError("images.npy")

    with pytest.raises(UserError, match=r"^data\.py:data raised FileNotFoundError: images\.npy$"):
        from_function(data, HERE, (X,), "test")


def test_only_parameters_that_can_be_given_by_position_count() -> None:
    def some(a: int, b: int = 2, *rest: int, key: int = 3, **more: int) -> None: ...

    assert [p.name for p in positional(some)] == ["a", "b"]
    assert positional(print) == positional(dict) == []


# -- from a folder -----------------------------------------------------------------------------------------------


def test_a_test_file_with_a_calibration_file_beside_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", x=rows(5), targets=np.arange(5))
    np.savez(tmp_path / "calibration.npz", x=rows(2) + 100)
    test, calibration = (from_folder(tmp_path, (X,), split) for split in ("test", "calibration"))
    assert test.targets is not None
    assert (len(test), test.targets.tolist()) == (5, [0, 1, 2, 3, 4])
    assert calibration.inputs[0][:, 0].tolist() == [100, 101]
    assert calibration.targets is None


def test_a_test_file_alone_is_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", x=rows(8), targets=np.arange(8))
    calibration = from_folder(tmp_path, (X,), "calibration")
    assert calibration.inputs[0][:, 0].tolist() == [3, 7]


def test_a_test_file_alone_keeps_none_of_the_calibration_examples_in_the_test(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", x=rows(8))
    test, calibration = (set(from_folder(tmp_path, (X,), s).inputs[0][:, 0]) for s in ("test", "calibration"))
    assert not test & calibration
    assert len(test) + len(calibration) == 8


def test_one_npy_an_example(tmp_path: Path) -> None:
    for i in range(4):
        np.save(tmp_path / f"{i}.npy", rows(4)[i])
    test = from_folder(tmp_path, (X,), "test")
    assert test.inputs[0][:, 0].tolist() == [0, 1, 2]
    assert from_folder(tmp_path, (X,), "calibration").inputs[0][:, 0].tolist() == [3]


def test_one_npy_an_example_with_a_batch_axis_of_its_own(tmp_path: Path) -> None:
    for i in range(2):
        np.save(tmp_path / f"{i}.npy", rows(4)[i : i + 1])
    assert from_folder(tmp_path, (X,), "test").inputs[0].shape == (1, 3)


def test_one_npz_an_example_with_its_target(tmp_path: Path) -> None:
    for i in range(4):
        np.savez(tmp_path / f"{i}.npz", ids=rows(4, 5, "int64")[i], x=rows(4)[i], target=10 + i)
    test = from_folder(tmp_path, (X, IDS), "test")
    assert [a.shape for a in test.inputs] == [(3, 3), (3, 5)]
    assert test.targets is not None
    assert test.targets.tolist() == [10, 11, 12]


def test_targets_that_some_examples_lack_are_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", x=rows(1)[0], target=1)
    np.savez(tmp_path / "1.npz", x=rows(1)[0])
    assert from_folder(tmp_path, (X,), "test").targets is None


def test_the_data_sets_that_onnx_models_are_published_with(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    for i in range(2):
        folder = tmp_path / f"test_data_set_{i}"
        folder.mkdir()
        for place, array in enumerate((rows(1) + np.float32(i), rows(1, 5, "int64") + i)):
            tensor = onnx.numpy_helper.from_array(array)
            (folder / f"input_{place}.pb").write_bytes(tensor.SerializeToString())
        (folder / "output_0.pb").write_bytes(b"not read")
    test = from_folder(tmp_path, (X, IDS), "test")
    assert [a.tolist() for a in test.inputs] == [[[0.0] * 3], [[0] * 5]]
    assert from_folder(tmp_path, (X, IDS), "calibration").inputs[1].tolist() == [[1] * 5]


def test_more_than_ten_published_data_sets_and_inputs_are_read_in_their_order(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    inputs = [InputSpec(f"x{i}", "float32", ("batch", 1)) for i in range(11)]
    folder = tmp_path / "test_data_set_0"
    folder.mkdir()
    for i in range(11):
        tensor = onnx.numpy_helper.from_array(np.full((1, 1), i, np.float32))
        (folder / f"input_{i}.pb").write_bytes(tensor.SerializeToString())
    assert [float(a[0, 0]) for a in from_folder(tmp_path, inputs, "test").inputs] == list(range(11))


def test_a_stacked_model_takes_whole_calls_from_a_folder(tmp_path: Path) -> None:
    for i in range(2):
        np.savez(tmp_path / f"{i}.npz", x=rows(1), sr=np.int64(16000))
    split = from_folder(tmp_path, (WHOLE, SCALAR), "test")
    assert split.stacked
    assert [a.shape for a in split.batch(1)] == [(1, 3), ()]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": rows(4).reshape(4, 3, 1)}, r"test\.npz: input 'x' has shape \(4, 3, 1\), expected \(examples, 3\)$"),
        ({"x": rows(4).astype(np.complex64)}, r"test\.npz: input 'x' is complex64, the model takes float32"),
        ({"y": rows(4)}, r"test\.npz has no array 'x'; the model's inputs are: x$"),
    ],
)
def test_arrays_in_a_folder_that_do_not_fit_are_refused_with_their_file(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "test.npz", **arrays)
    with pytest.raises(UserError, match=message):
        from_folder(tmp_path, (X,), "test")


def test_an_empty_folder_says_what_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no data: test\.npz, one \.npy or \.npz an example, or test_data_set_0"):
        from_folder(tmp_path, (X,), "test")


def test_examples_that_differ_in_shape_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3, np.float32))
    np.save(tmp_path / "b.npy", np.zeros(4, np.float32))
    with pytest.raises(UserError, match="differ in shape"):
        from_folder(tmp_path, (X,), "test")


def test_examples_with_different_numbers_of_inputs_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", rows(1)[0])
    np.savez(tmp_path / "b.npz", x=rows(1)[0], ids=rows(1, 5, "int64")[0])
    with pytest.raises(UserError, match=r"an example in .* gives 1 inputs, the model takes 2: x, ids"):
        from_folder(tmp_path, (X, IDS), "test")


@pytest.mark.parametrize("name", ["test.npz", "0.npz", "0.npy"])
@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut short"], ids=["empty", "text", "cut"])
def test_a_file_that_is_no_array_is_refused_by_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} cannot be read as numpy arrays: "):
        from_folder(tmp_path, (X,), "test")
