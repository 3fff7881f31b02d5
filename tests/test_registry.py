from __future__ import annotations

import pytest

from harness.errors import UnknownNameError
from harness.registry import Registry


def filled(*names: str) -> Registry[int]:
    registry: Registry[int] = Registry("thing")
    for number, name in enumerate(names):
        registry.add(name, number)
    return registry


def test_an_item_is_found_under_its_name() -> None:
    registry = filled("a", "b")
    assert registry.get("b") == 1
    assert "a" in registry
    assert "c" not in registry
    assert 1 not in registry
    assert len(registry) == 2


def test_adding_returns_the_item_so_that_it_can_decorate() -> None:
    item = object()
    registry: Registry[object] = Registry("thing")
    assert registry.add("a", item) is item


def test_names_come_in_alphabetical_order() -> None:
    assert list(filled("b", "c", "a")) == ["a", "b", "c"]


def test_a_name_is_registered_once() -> None:
    registry = filled("a")
    with pytest.raises(ValueError, match="thing 'a' is registered twice"):
        registry.add("a", 2)
    assert registry.get("a") == 0


def test_an_unknown_name_is_a_users_error_with_the_closest_one() -> None:
    with pytest.raises(UnknownNameError, match="unknown thing 'alpah'; did you mean 'alpha'"):
        filled("alpha", "beta").get("alpah")
    with pytest.raises(UnknownNameError, match=r"^unknown thing 'x'$"):
        filled().get("x")
