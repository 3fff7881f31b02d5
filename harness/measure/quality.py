"""Quality metrics on host arrays. numpy only: a measured process must not load torch to be judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import InvalidOutputError
from harness.registry import Registry

Arrays = tuple[NDArray[Any], ...]


class Metric(ABC):
    """A metric made of a score of each example, so that variants can be compared in pairs.

    ``against`` says what outputs are held against: the data's ``targets``, or the ``reference``, which is the
    unoptimized model's outputs on the same inputs. ``paired`` says how the scores make the value: ``mean`` is
    their mean; with ``rank`` a score is what the model says of an example, and the value depends on how the
    scores order the examples of the two classes.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool]
    unit: ClassVar[str]
    against: ClassVar[Literal["targets", "reference"]]
    paired: ClassVar[Literal["mean", "rank"]] = "mean"

    def predict(self, outputs: Arrays) -> NDArray[Any] | None:  # noqa: ARG002
        """Map the outputs of a batch (first axis n) to the n predictions that are kept; None for nothing to keep."""
        return None

    @abstractmethod
    def score(self, outputs: Arrays, right: Any) -> NDArray[np.float64]:
        """Return the n scores of a batch. ``right`` is (n,) targets, or a tuple of reference outputs."""

    def value(self, scores: NDArray[Any], targets: NDArray[Any] | None) -> float:  # noqa: ARG002
        """Return the metric on all examples from their n scores and, where the data has them, their n targets."""
        return float(scores.mean())


class Accuracy(Metric):
    """Top-1 accuracy from class scores of shape (n, classes) in the first output."""

    name = "accuracy"
    higher_is_better = True
    unit = "share"
    against = "targets"

    def predict(self, outputs: Arrays) -> NDArray[Any]:
        """Return the n class indices with the highest score."""
        return _classes(outputs, self.name)

    def score(self, outputs: Arrays, right: Any) -> NDArray[np.float64]:
        """Return 1 for a right and 0 for a wrong prediction. Raises InvalidOutputError for a class that is none."""
        predicted, classes = self.predict(outputs), outputs[0].shape[1]
        if np.size(right) and (np.max(right) >= classes or np.min(right) < 0):
            raise InvalidOutputError(
                f"the targets hold class {np.max(right)} or {np.min(right)}, and the model has the classes 0 to "
                f"{classes - 1}"
            )
        return np.asarray(predicted == right, dtype=np.float64)


class Top1Agreement(Metric):
    """Share of examples that get the class which the unoptimized model gives them."""

    name = "top1-agreement"
    higher_is_better = True
    unit = "share"
    against = "reference"

    def predict(self, outputs: Arrays) -> NDArray[Any]:
        """Return the n class indices with the highest score."""
        return _classes(outputs, self.name)

    def score(self, outputs: Arrays, right: Any) -> NDArray[np.float64]:
        """Return 1 for the same class and 0 for another."""
        return np.asarray(self.predict(outputs) == self.predict(right), dtype=np.float64)


class CosineAgreement(Metric):
    """Cosine similarity of an example's outputs with the unoptimized model's, averaged over the outputs.

    Integer and Boolean outputs count by their share of equal elements. Two zero vectors agree fully.
    """

    name = "cosine-agreement"
    higher_is_better = True
    unit = "cosine"
    against = "reference"

    def score(self, outputs: Arrays, right: Any) -> NDArray[np.float64]:
        """Return the n similarities, in −1 … 1. Raises InvalidOutputError for another number of outputs or shape."""
        if [o.shape for o in outputs] != [r.shape for r in right]:
            raise InvalidOutputError(
                f"outputs have shapes {[o.shape for o in outputs]}, the unoptimized model's {[r.shape for r in right]}"
            )
        similarities = [_similarity(o, r) for o, r in zip(outputs, right, strict=True)]
        return np.asarray(np.mean(similarities, axis=0), dtype=np.float64)


class RocAuc(Metric):
    """Area under the ROC curve: how often an example of class 1 is scored above one of class 0; a tie is a half.

    The first output, (n,) or (n, 1), is the score of class 1: a probability or anything that orders the same way.
    """

    name = "roc-auc"
    higher_is_better = True
    unit = "share"
    against = "targets"
    paired = "rank"

    def score(self, outputs: Arrays, right: Any) -> NDArray[np.float64]:
        """Return the n scores as the model gives them. Raises InvalidOutputError for another shape or target."""
        first = outputs[0]
        if first.shape not in ((len(first),), (len(first), 1)):
            raise InvalidOutputError(f"{self.name} needs one score an example, (n,) or (n, 1), got {first.shape}")
        if not np.isin(right, (0, 1)).all():
            raise InvalidOutputError(f"{self.name} needs targets of 0 and 1")
        return first.reshape(-1).astype(np.float64)

    def value(self, scores: NDArray[Any], targets: NDArray[Any] | None) -> float:
        """Return the area, by the ranks (Hanley & McNeil, Radiology 143, 1982). Raises InvalidOutputError
        where one class is missing.
        """
        positive = np.asarray(targets) == 1
        ones, zeros = int(positive.sum()), int((~positive).sum())
        if not ones or not zeros:
            raise InvalidOutputError(f"{self.name} needs examples of both classes, got {zeros} of 0 and {ones} of 1")
        return float((_ranks(scores)[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def _ranks(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return the ranks from 1; equal scores share the mean of their ranks."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place], dtype=np.float64)


def _classes(outputs: Arrays, metric: str) -> NDArray[Any]:
    if outputs[0].ndim != 2:
        raise InvalidOutputError(f"{metric} needs scores of shape (n, classes), got {outputs[0].shape}")
    return np.asarray(np.argmax(outputs[0], axis=1))


def _similarity(got: NDArray[Any], want: NDArray[Any]) -> NDArray[np.float64]:
    n = len(got)
    if got.size == 0:
        return np.ones(n)
    if got.dtype.kind not in "fc":
        return np.asarray((got == want).reshape(n, -1).mean(axis=1), dtype=np.float64)
    a, b = _directions(got), _directions(want)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    return np.where(both_zero, 1.0, np.clip((a * b).sum(axis=1), -1.0, 1.0))


def _directions(outputs: NDArray[Any]) -> NDArray[np.float64]:
    """Return (n, elements) rows of length 1; zeros stay. A complex number counts as two elements."""
    rows = np.ascontiguousarray(outputs.reshape(len(outputs), -1))
    rows = rows.view(rows.real.dtype).astype(np.float64)
    rows = _divided(rows, np.abs(rows).max(axis=1, keepdims=True))  # near 1: no square overflows or vanishes
    return _divided(rows, np.linalg.norm(rows, axis=1, keepdims=True))


def _divided(rows: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(rows, sizes, out=np.zeros_like(rows), where=sizes > 0))


def agreement_metric(expected: Arrays) -> str:
    """Return the metric that fits reference outputs: classes where they are probabilities, else similarity."""
    first = expected[0]
    probabilities = (
        len(expected) == 1
        and first.ndim == 2
        and first.shape[1] > 1
        and first.dtype.kind == "f"
        and bool((first >= 0).all())
        and bool(np.allclose(first.sum(axis=1), 1.0, atol=1e-3))
        and len(np.unique(first.argmax(axis=1))) > 1  # where all are of one class, agreement on it says nothing
    )
    return Top1Agreement.name if probabilities else CosineAgreement.name


METRICS: Registry[Metric] = Registry("metric")
for _metric in (Accuracy(), Top1Agreement(), CosineAgreement(), RocAuc()):
    METRICS.add(_metric.name, _metric)
