from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import errors
from harness.errors import (
    HarnessError,
    HostLockedError,
    StoreError,
    SuiteError,
    TrialError,
    UnknownNameError,
    UserError,
    did_you_mean,
)

ALL = {name: item for name, item in vars(errors).items() if isinstance(item, type) and issubclass(item, Exception)}


def depth(cls: type) -> int:
    return cls.__mro__.index(HarnessError)


def test_the_tree_drawn_at_the_top_of_the_file_is_the_tree() -> None:
    drawn = re.findall(r"^([│├└─ ]*)(\w+Error)\b", errors.__doc__ or "", flags=re.MULTILINE)
    assert {name: len(indent) // 4 for indent, name in drawn} == {name: depth(cls) for name, cls in ALL.items()}


def test_only_the_users_mistakes_exit_with_2() -> None:
    assert {name for name, cls in ALL.items() if cls.exit_code == 2} == {
        name for name, cls in ALL.items() if issubclass(cls, UserError)
    }
    assert StoreError.exit_code == TrialError.exit_code == HarnessError.exit_code == 3
    assert HostLockedError.exit_code == SuiteError.exit_code == 2


def test_a_suite_error_begins_with_its_place() -> None:
    error = SuiteError("is wrong", file="a.yaml", line=3)
    assert (str(error), error.file, error.line) == ("a.yaml:3: is wrong", "a.yaml", 3)
    assert str(SuiteError("is wrong", file="a.yaml")) == "a.yaml: is wrong"


def test_an_unknown_name_is_answered_with_the_closest_one() -> None:
    error = UnknownNameError("backend", "torhc", iter(["onnxruntime", "torch"]))
    assert str(error) == "unknown backend 'torhc'; did you mean 'torch'?"
    assert error.name == "torhc"


@pytest.mark.parametrize(
    ("known", "hint"), [(["b", "a"], "; known: a, b"), ([], ""), (["qqq", "zzz"], "; did you mean 'zzz'?")]
)
def test_without_a_close_name_all_are_listed(known: list[str], hint: str) -> None:
    assert did_you_mean("zzzz", known) == hint


@given(st.lists(st.text("abcdef", min_size=1), min_size=1, unique=True), st.data())
def test_a_known_name_is_closest_to_itself_and_order_does_not_matter(known: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(known))
    assert did_you_mean(name, known) == f"; did you mean '{name}'?"
    assert did_you_mean("a" + name, known) == did_you_mean("a" + name, reversed(known))
