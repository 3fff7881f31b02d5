"""The reference: real inputs beside an artifact with the outputs that it must still give, and the check itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from harness.artifacts import REFERENCE
from harness.backends.base import Arrays
from harness.dataset import numbered
from harness.errors import InvalidOutputError
from harness.schema import FIDELITY_BOUND, Fidelity, FidelityCheck


def write_reference(directory: Path, inputs: Sequence[Arrays], outputs: Sequence[Arrays], size: int) -> None:
    """Keep the inputs and outputs of some calls of ``size`` examples each; the first axis of what is kept counts calls.

    Several calls where the batch is small: a single example may lie where the outputs cross zero, and there any
    rounding is a large relative error. One only where outputs change their shape from call to call.
    """
    if not _alike(outputs):
        inputs, outputs = inputs[:1], outputs[:1]
    arrays = {f"input_{i}": np.stack(column) for i, column in enumerate(zip(*inputs, strict=True))}
    arrays |= {f"output_{i}": np.stack(column) for i, column in enumerate(zip(*outputs, strict=True))}
    arrays["examples"] = np.asarray(len(inputs) * size)
    np.savez(directory / REFERENCE, **arrays)  # type: ignore[arg-type]


def verify(
    call: Callable[[Arrays], Arrays], directory: Path, kind: Fidelity, within_s: float | None = None
) -> FidelityCheck:
    """Hold the outputs on the kept inputs against the kept outputs; raises InvalidOutputError.

    After ``within_s`` seconds the calls so far are enough if their outputs are within the bound: a replicate looks
    whether it opened what was examined in full. A few calls that are not within it decide nothing.
    """
    bound = FIDELITY_BOUND[kind]
    with np.load(directory / REFERENCE) as stored:
        inputs, expected, examples = numbered(stored, "input"), numbered(stored, "output"), int(stored["examples"])
    every, began = len(inputs[0]), time.perf_counter()
    outputs: list[Arrays] = []
    for i in range(every):
        outputs.append(call(tuple(column[i] for column in inputs)))
        done = i + 1
        if done < every and (within_s is None or time.perf_counter() - began < within_s):
            continue
        error = relative_error(_stacked(outputs), tuple(column[:done] for column in expected))
        if bound is None or error <= bound:
            return FidelityCheck(kind, error, bound, examples * done // every)
    raise InvalidOutputError(
        f"outputs differ from the reference by {error:.3g} (relative), the bound for '{kind}' is {bound:g}"
    )


def relative_error(outputs: Arrays, expected: Arrays) -> float:
    """Return the largest ‖y − y_ref‖₂ / ‖y_ref‖₂ over outputs; raises InvalidOutputError for NaN or a shape."""
    if len(outputs) != len(expected):
        raise InvalidOutputError(f"{len(outputs)} outputs, the reference has {len(expected)}")
    check_finite(outputs)
    worst = 0.0
    for i, (got, want) in enumerate(zip(outputs, expected, strict=True)):
        if got.shape != want.shape:
            raise InvalidOutputError(f"output {i} has shape {got.shape}, the reference {want.shape}")
        scale = float(np.linalg.norm(want.astype(np.float64)))
        difference = float(np.linalg.norm(got.astype(np.float64) - want.astype(np.float64)))
        worst = max(worst, difference / scale if scale > 0 else difference)
    return worst


def check_finite(outputs: Arrays) -> None:
    """Raise InvalidOutputError, with the share, where an output holds NaN or infinity."""
    for i, output in enumerate(outputs):
        if np.issubdtype(output.dtype, np.floating) and not np.isfinite(output).all():
            share = 1.0 - float(np.isfinite(output).mean())
            raise InvalidOutputError(f"output {i} is not finite in {100 * share:.0f} % of its values (NaN or infinity)")


def _stacked(outputs: Sequence[Arrays]) -> Arrays:
    """Return the outputs of several calls with the calls as their first axis; raises InvalidOutputError."""
    if not _alike(outputs):
        raise InvalidOutputError("the outputs change their shape from call to call, those of the reference do not")
    return tuple(np.stack(column) for column in zip(*outputs, strict=True))


def _alike(outputs: Sequence[Arrays]) -> bool:
    return len({tuple(o.shape for o in call) for call in outputs}) == 1
