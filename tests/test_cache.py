from __future__ import annotations

import json
from pathlib import Path

import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cache import Cache, default_root, hash_file, hash_files, hash_source, key_of
from harness.errors import HarnessError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def touch(directory: Path) -> None:
    (directory / "file").write_text("made")


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path), []

    def make(directory: Path) -> None:
        calls.append(directory)
        touch(directory)

    first = cache.get_or_make("artifacts", "k", make)
    second = cache.get_or_make("artifacts", "k", make)
    assert first == (tmp_path / "artifacts" / "k", False)
    assert second == (tmp_path / "artifacts" / "k", True)
    assert len(calls) == 1
    assert (second[0] / "file").read_text() == "made"


def test_an_entry_is_not_there_before_it_is_complete(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def make(directory: Path) -> None:
        touch(directory)
        assert not cache.folder("artifacts", "k").exists()

    cache.get_or_make("artifacts", "k", make)
    assert cache.folder("artifacts", "k").is_dir()


def test_a_make_that_fails_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def make(directory: Path) -> None:
        touch(directory)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get_or_make("artifacts", "k", make)
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_the_faster_of_two_builders_wins_and_the_other_uses_its_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def make(directory: Path) -> None:
        touch(directory)
        rival = cache.folder("artifacts", "k")
        rival.mkdir()
        (rival / "file").write_text("rival")

    directory, cached = cache.get_or_make("artifacts", "k", make)
    assert (directory / "file").read_text() == "rival"
    assert not cached
    assert [p.name for p in (tmp_path / "artifacts").iterdir()] == ["k"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with pytest.raises(HarnessError, match="cannot write to the cache at"):
        cache.get_or_make("artifacts", "k", lambda directory: cache.folder("artifacts", "k").write_text("a file"))


def test_a_discarded_entry_is_made_anew(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.get_or_make("artifacts", "k", touch)
    cache.discard("artifacts", "k")
    cache.discard("artifacts", "never made")
    assert cache.get_or_make("artifacts", "k", touch)[1] is False


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_a_key_does_not_depend_on_the_order_of_names(parts: dict[str, object]) -> None:
    backwards = dict(reversed(parts.items()))
    assert key_of(parts) == key_of(backwards) == key_of(json.loads(json.dumps(parts)))
    assert len(key_of(parts)) == 32


@given(JSON, JSON)
def test_different_parts_have_different_keys(a: object, b: object) -> None:
    assert (key_of(a) == key_of(b)) == (json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True))


def test_hashes_follow_the_content_in_the_order_of_the_names(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_text("a")
    two.write_text("b")
    before = hash_files([one, two])
    assert before == hash_files([two, one])
    assert hash_file(one) != hash_file(two)
    two.write_text("c")
    assert hash_files([one, two]) != before


def test_the_root_is_chosen_by_the_environment(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_root() == cache_dir
    monkeypatch.delenv("HARNESS_CACHE_DIR")
    assert default_root() == Path(platformdirs.user_cache_dir("optimization-harness"))


def test_a_source_is_what_it_does_whatever_it_says_about_itself(tmp_path: Path) -> None:
    def hashed(text: str) -> str:
        (tmp_path / "f.py").write_text(text)
        return hash_source(tmp_path / "f.py")

    plain = hashed("def f(x):\n    return x + 1\n")
    assert hashed('"""A file."""\n\n# why\ndef f(x):\n    """Add."""\n    return (x + 1)\n') == plain
    assert hashed("def f(x):\n    return x + 2\n") != plain
    assert hashed('def f(x):\n    y = "Add."\n    return x + 1\n') != plain
