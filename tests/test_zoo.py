from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.zoo import Split, import_file, load_model, load_model_file, model_files, module_name, resource_dir

pytestmark = pytest.mark.usefixtures("own_imports")

X = np.arange(15, dtype=np.float32).reshape(5, 3)


@given(st.integers(1, 12), st.integers(0, 30))
def test_a_batch_wraps_around_at_the_end(size: int, start: int) -> None:
    [batch] = Split((X,)).batch(size, start)
    assert batch.flags.c_contiguous
    assert batch[:, 0].tolist() == [X[i % 5, 0] for i in range(start, start + size)]


def test_a_batch_is_a_copy() -> None:
    [batch] = Split((X,)).batch(2)
    batch[:] = -1
    assert X[0, 0] == 0


def test_a_split_needs_no_targets_and_is_not_stacked_by_default() -> None:
    split = Split((X,))
    assert split.targets is None
    assert not split.stacked
    assert len(split) == 5


@given(st.integers(0, 30))
def test_an_example_of_a_stacked_split_is_one_whole_call(start: int) -> None:
    split = Split((X.reshape(5, 1, 3), np.arange(5)), None, stacked=True)
    image, number = split.batch(1, start)
    assert image.shape == (1, 3)
    assert image.flags.c_contiguous
    assert isinstance(number, np.ndarray)
    assert (number.shape, int(number)) == ((), start % 5)


def test_a_stacked_split_gives_copies() -> None:
    split = Split((X.copy(),), None, stacked=True)
    split.batch(1)[0][:] = -1
    assert split.inputs[0][0, 0] == 0


@pytest.mark.parametrize("size", [0, 2, 8])
def test_more_than_one_example_of_a_stacked_split_is_no_call(size: int) -> None:
    with pytest.raises(ValueError, match=f"no batch axis, so {size} examples cannot be one call"):
        Split((X,), None, stacked=True).batch(size)


@pytest.mark.parametrize(
    ("inputs", "targets", "lengths"),
    [((X, X[:3]), None, "[3, 5]"), ((X,), np.arange(4), "[4, 5]"), ((X[:0],), None, "[0]"), ((), None, "[]")],
)
def test_arrays_that_are_empty_or_not_equally_long_are_refused(inputs: Any, targets: Any, lengths: str) -> None:
    with pytest.raises(UserError) as caught:
        Split(inputs, targets)
    message = f"a data split needs equally many (at least one) examples in all arrays, got {lengths}"
    assert str(caught.value) == message


def test_the_harness_own_models_are_found_without_a_folder() -> None:
    files = model_files()
    assert files["digits-cnn"] == resource_dir("models") / "digits_cnn.py"
    assert "_fake" in files


def test_models_in_a_folder_come_beside_and_before_the_harness_own(tmp_path: Path) -> None:
    for name in ("my_net.py", "digits_cnn.py", "_hidden.py", "notes.txt"):
        (tmp_path / name).write_text("")
    files = model_files(tmp_path)
    assert files["my-net"] == tmp_path / "my_net.py"
    assert files["digits-cnn"] == tmp_path / "digits_cnn.py"
    assert files["_hidden"] == tmp_path / "_hidden.py"
    assert "_fake" in files
    assert "notes" not in files


def test_a_folder_of_models_that_does_not_exist_is_refused_with_the_flag(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        model_files(tmp_path / "models")
    assert str(caught.value) == f"{tmp_path / 'models'} is no folder; --models names a folder of model files"


def test_a_file_is_imported_once(tmp_path: Path) -> None:
    path = tmp_path / "once.py"
    path.write_text("VALUE = object()\n")
    assert import_file(path) is import_file(path)


def test_the_harness_own_files_keep_their_name_so_that_old_pickles_load() -> None:
    assert module_name(resource_dir("models") / "digits_cnn.py") == "harness_models_digits_cnn"
    assert load_model("_fake").name == "_fake"


def test_a_users_file_of_the_same_name_as_the_harness_own_is_another_module(tmp_path: Path) -> None:
    path = tmp_path / "_fake.py"
    path.write_text("VALUE = 1\n")
    load_model("_fake")
    assert import_file(path).VALUE == 1
    assert load_model("_fake").name == "_fake"


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        import_file(tmp_path / "none.py")
    assert str(caught.value) == f"{tmp_path / 'none.py'} does not exist"


def test_an_import_error_names_the_users_own_line_not_the_librarys(tmp_path: Path) -> None:
    (tmp_path / "neighbor_that_fails.py").write_text("\n\n\n\n\nraise ValueError('deep')\n")
    path = tmp_path / "outer.py"
    path.write_text("x = 1\nimport neighbor_that_fails\n")
    with pytest.raises(UserError) as caught:
        import_file(path)
    assert str(caught.value) == f"{path}:2: ValueError: deep"


def test_a_syntax_error_in_a_neighbor_is_not_blamed_on_a_line_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "neighbor_with_syntax.py").write_text("\n\n\n\nif\n")
    path = tmp_path / "outer_of_syntax.py"
    path.write_text("import neighbor_with_syntax\n")
    with pytest.raises(UserError) as caught:
        import_file(path)
    assert str(caught.value).startswith(f"{path}:1: SyntaxError: ")
    assert "neighbor_with_syntax.py, line 5" in str(caught.value)


def test_a_file_that_ends_the_program_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "leaves.py"
    path.write_text("import sys\nsys.exit('usage: leaves.py')\n")
    with pytest.raises(UserError, match=r"leaves\.py:2: SystemExit: usage: leaves\.py"):
        import_file(path)


def test_a_model_file_without_a_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nothing.py"
    path.write_text("MODEL = 3\n")
    with pytest.raises(UserError) as caught:
        load_model_file(path)
    assert str(caught.value) == f"{path} defines no MODEL = Model(...)"
