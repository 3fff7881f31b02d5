from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.targets import Target, call, code_hash, import_place, is_target, parse_target, resolve
from tests.conftest import forget_modules_of

pytestmark = pytest.mark.usefixtures("own_imports")


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def hash_anew(path: Path) -> str:
    """Hash as a new process would."""
    forget_modules_of(path.parent)
    return code_hash(str(path))


@pytest.mark.parametrize("text", ["net.py:make", "a/b/net.py:make", "package.module:make", "C:net.py:make", "a:_b1"])
def test_a_place_a_colon_and_a_name_make_a_target(text: str) -> None:
    assert is_target(text)


@pytest.mark.parametrize("text", ["", "net.py", ":make", "net.py:", "net.py:make()", "net.py:a.b", "net.py:1st", "a b"])
def test_other_texts_are_no_targets_and_are_refused(text: str) -> None:
    assert not is_target(text)
    with pytest.raises(UserError, match=r"is neither file\.py:name nor package\.module:name"):
        parse_target(text)


def test_a_file_is_taken_relative_to_the_base_and_made_absolute(tmp_path: Path) -> None:
    path = write(tmp_path, "sub/net.py", "")
    target = parse_target("../sub/net.py:make", tmp_path / "sub")
    assert target == Target(str(path), "make")
    assert target.is_file
    assert parse_target(str(target)) == target


def test_a_module_is_kept_as_it_is() -> None:
    target = parse_target("package.module:make", Path("/anywhere"))
    assert target == Target("package.module", "make")
    assert not target.is_file


@given(st.from_regex(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*", fullmatch=True).filter(lambda p: not p.endswith(".py")))
def test_a_target_reads_back_from_its_own_text(place: str) -> None:
    assert parse_target(str(Target(place, "make"))) == Target(place, "make")


def test_a_file_that_does_not_exist_is_named_with_its_whole_path(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        parse_target("net.py:make", tmp_path)
    assert str(caught.value) == f"{tmp_path / 'net.py'} does not exist"


def test_a_name_is_found_in_a_file_and_in_a_module(tmp_path: Path) -> None:
    write(tmp_path, "net.py", "def make():\n    return 7\n")
    assert resolve(parse_target("net.py:make", tmp_path))() == 7
    assert resolve(parse_target("json.decoder:JSONDecoder")).__name__ == "JSONDecoder"


def test_a_module_may_lie_in_the_folder_that_is_given(tmp_path: Path) -> None:
    write(tmp_path, "lib_for_targets/__init__.py", "")
    write(tmp_path, "lib_for_targets/net.py", "WIDTH = 8\n")
    assert resolve(parse_target("lib_for_targets.net:WIDTH"), str(tmp_path)) == 8


def test_a_name_that_is_not_there_is_refused_with_the_closest(tmp_path: Path) -> None:
    path = write(tmp_path, "net.py", "def make_net():\n    pass\n_make_nets = 1\n")
    with pytest.raises(UserError) as caught:
        resolve(parse_target("net.py:make_nett", tmp_path))
    assert str(caught.value) == f"{path} has no 'make_nett'; did you mean 'make_net'?"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x = 1\nimport no_such_module_here\n", 2, "ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("x = 1\n\ny = x / 0\n", 3, "ZeroDivisionError: division by zero"),
        ("def f():\n    raise ValueError('odd')\n\nf()\n", 2, "ValueError: odd"),
        ("x = 1\nif x\n", 2, "SyntaxError: "),
    ],
)
def test_a_file_that_fails_at_import_is_named_with_the_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = write(tmp_path, "broken.py", text)
    with pytest.raises(UserError) as caught:
        import_place(str(path))
    assert str(caught.value).startswith(f"{path}:{line}: {message}")
    assert caught.value.__cause__ is not None


def test_a_failed_import_leaves_nothing_behind_so_a_mended_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "mended.py", "1 / 0\n")
    with pytest.raises(UserError):
        import_place(str(path))
    path.write_text("OK = True\n")
    assert import_place(str(path)).OK


def test_a_module_that_cannot_be_imported_says_why(tmp_path: Path) -> None:
    write(tmp_path, "raises_at_import.py", "raise RuntimeError('no license')\n")
    with pytest.raises(UserError) as caught:
        import_place("raises_at_import", str(tmp_path))
    assert str(caught.value) == "module raises_at_import cannot be imported: RuntimeError: no license"


def test_a_file_may_import_its_neighbors(tmp_path: Path) -> None:
    write(tmp_path, "neighbor_of_net.py", "WIDTH = 3\n")
    path = write(tmp_path, "net.py", "from neighbor_of_net import WIDTH\n")
    assert import_place(str(path)).WIDTH == 3


def test_two_files_of_one_name_in_two_folders_are_two_modules(tmp_path: Path) -> None:
    first, second = (write(tmp_path, f"{name}/net.py", f"NAME = {name!r}\n") for name in "ab")
    assert [import_place(str(path)).NAME for path in (first, second, first)] == ["a", "b", "a"]


def test_a_users_exception_becomes_a_sentence_that_says_where(tmp_path: Path) -> None:
    def fail(number: int) -> None:
        raise KeyError(f"weight {number}")

    with pytest.raises(UserError, match=r"^net\.py:make raised KeyError: 'weight 3'$") as caught:
        call(fail, Target("net.py", "make"), 3)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_users_function_that_ends_the_program_becomes_a_sentence() -> None:
    with pytest.raises(UserError, match=r"^net\.py:make raised SystemExit: 2$"):
        call(sys.exit, Target("net.py", "make"), 2)


def test_a_users_own_sentence_is_left_as_it_is() -> None:
    def refuse() -> None:
        raise UserError("download the weights first")

    with pytest.raises(UserError, match=r"^download the weights first$"):
        call(refuse, Target("net.py", "make"))


def test_the_code_hash_notices_an_edited_file_and_an_edited_neighbor(tmp_path: Path) -> None:
    neighbor = write(tmp_path, "layers_of_hashed.py", "WIDTH = 3\n")
    path = write(tmp_path, "hashed.py", "import layers_of_hashed\n")
    first = hash_anew(path)
    assert hash_anew(path) == first
    neighbor.write_text("WIDTH = 40\n")
    second = hash_anew(path)
    path.write_text("import layers_of_hashed  # edited\n")
    assert len({first, second, hash_anew(path)}) == 3


def test_the_code_hash_leaves_out_neighbors_that_are_not_imported(tmp_path: Path) -> None:
    path = write(tmp_path, "alone.py", "WIDTH = 1\n")
    first = hash_anew(path)
    write(tmp_path, "other.py", "")
    assert hash_anew(path) == first


def test_the_code_hash_leaves_out_packages_of_an_environment_beside_the_file(tmp_path: Path) -> None:
    site = tmp_path / "venv" / "lib" / "python3" / "site-packages"
    package = write(site, "package_in_venv.py", "VERSION = 1\n")
    sys.path.append(str(site))
    path = write(tmp_path, "uses_venv.py", "import package_in_venv\n")
    first = hash_anew(path)
    assert sys.modules["package_in_venv"].__file__ == str(package)
    package.write_text("VERSION = 20\n")
    assert hash_anew(path) == first


@pytest.mark.parametrize("regular", [True, False], ids=["regular", "without __init__"])
def test_the_code_hash_of_a_module_covers_its_whole_package(tmp_path: Path, regular: bool) -> None:
    if regular:
        write(tmp_path, "pack_hashed/__init__.py", "")
    deep = write(tmp_path, "pack_hashed/blocks/conv.py", "K = 3\n")
    write(tmp_path, "pack_hashed/nets/small.py", "from pack_hashed.blocks.conv import K\n")
    first = code_hash("pack_hashed.nets.small", str(tmp_path))
    deep.write_text("K = 55\n")
    forget_modules_of(tmp_path)
    assert code_hash("pack_hashed.nets.small", str(tmp_path)) != first
