"""The test data of a model on disk: plain arrays that a worker without torch can read, and how they are judged."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.zoo import Split

DATA_FILE = "test.npz"
CARD_FILE = "card.json"
Arrays = tuple[NDArray[Any], ...]
DataKind = Literal["test", "synthetic", "unlabeled"]


@dataclass(frozen=True)
class DataCard:
    """How outputs on the test data are judged.

    Attributes:
        metric: a name in ``METRICS``; None when quality cannot be measured, with the ``reason``.
        kind: ``test`` (labeled), ``synthetic`` or ``unlabeled``.
    """

    metric: str | None
    kind: DataKind
    reason: str = ""


@dataclass(frozen=True)
class TestData:
    """The test split, and the unoptimized model's outputs on it where they are what is right."""

    __test__ = False  # no test class, whatever pytest thinks of its name

    split: Split
    expected: Arrays | None = None

    def right(self, start: int, count: int) -> Any:
        """Return what is right for some examples: targets, or a tuple of expected outputs."""
        if self.expected is not None:
            return tuple(array[start : start + count] for array in self.expected)
        assert self.split.targets is not None
        return self.split.targets[start : start + count]


def write_test_data(folder: Path, data: TestData, card: DataCard) -> Path:
    """Write the data and its card into ``folder``; returns the data's file."""
    arrays = {f"input_{i}": a for i, a in enumerate(data.split.inputs)}
    arrays |= {f"expected_{i}": a for i, a in enumerate(data.expected or ())}
    if data.split.targets is not None:
        arrays["targets"] = data.split.targets
    np.savez(folder / DATA_FILE, stacked=np.array(data.split.stacked), **arrays)  # type: ignore[arg-type]
    (folder / CARD_FILE).write_text(json.dumps(asdict(card)))
    return folder / DATA_FILE


def read_test_data(path: Path) -> TestData:
    """Read the data's file."""
    with np.load(path) as stored:
        inputs, expected = numbered(stored, "input"), numbered(stored, "expected")
        targets = stored["targets"] if "targets" in stored.files else None
        return TestData(Split(inputs, targets, bool(stored["stacked"])), expected or None)


def read_card(path: Path) -> DataCard:
    """Read the card beside the data's file."""
    return DataCard(**json.loads((path.parent / CARD_FILE).read_text()))


def numbered(stored: Any, prefix: str) -> Arrays:
    """Return the arrays ``prefix_0``, ``prefix_1`` ... of an npz file, in order."""
    names = [name for name in stored.files if name.startswith(prefix + "_")]
    return tuple(stored[f"{prefix}_{i}"] for i in range(len(names)))
