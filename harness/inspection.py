"""Looks at a model before anything is planned: what it takes, what it gives, and about how long a call lasts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.backends.base import Arrays
from harness.errors import UserError
from harness.modules import run_module
from harness.onnx_files import weights_among_inputs
from harness.schema import InputSpec, Trial
from harness.sources import model_of
from harness.userdata import is_stacked, synthetic
from harness.zoo import Model, OnnxFile


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        inputs: concrete, with ``"batch"`` as the first size where the model has a batch axis.
        outputs: shape of each output for one batch.
        replaceable_weights: whether an ONNX file lists weights among its inputs, which makes it slow.
        call_s: seconds of one call in this process, roughly: for planning, not for a report.
    """

    inputs: tuple[InputSpec, ...]
    outputs: tuple[tuple[int, ...], ...]
    call_s: float
    replaceable_weights: bool = False


def inspect_model(trial: Trial) -> Inspection:
    """Build the trial's model and run it on synthetic inputs.

    Raises UserError with one sentence when the model cannot be built or does not run.
    """
    assert trial.source is not None
    model = model_of(trial)
    inputs, module = model.inputs, model.build(0)
    if not inputs:  # a Model with data of its own: nothing to choose
        outputs, seconds = _timed(model, module, model.data("test").batch(trial.batch_size))
        return Inspection((), outputs, seconds)
    if not is_stacked(inputs) and not trial.source.inputs and not _follows_batch(module, inputs):
        inputs = tuple(replace(spec, shape=(1, *spec.shape[1:])) for spec in inputs)
    if is_stacked(inputs) and trial.batch_size != 1:
        raise UserError(f"{model.name} has no batch axis, so its batch size is 1; leave --batch-size out")
    batch = _feed(inputs, trial.batch_size)
    _check_repeatable(model, module, batch)
    outputs, seconds = _timed(model, module, batch)
    replaceable = isinstance(module, OnnxFile) and bool(weights_among_inputs(module.path))
    return Inspection(inputs, outputs, seconds, replaceable)


def _feed(inputs: Sequence[InputSpec], size: int) -> Arrays:
    return synthetic(inputs, max(size, 1), "test").batch(size)


def _timed(model: Model, module: Any, batch: Arrays) -> tuple[tuple[tuple[int, ...], ...], float]:
    """Return the shapes of the outputs, and the seconds of the second call."""
    outputs = _run(model, module, batch)
    began = time.perf_counter()
    _run(model, module, batch)
    return tuple(tuple(o.shape) for o in outputs), time.perf_counter() - began


def _check_repeatable(model: Model, module: Any, batch: Arrays) -> None:
    """Raise UserError for a model that nothing can be held against: other outputs at every call, or none that count."""
    first, second = _run(model, module, batch), _run(model, module, batch)
    for a, b in zip(first, second, strict=True):
        if a.dtype.kind == "f" and not np.isfinite(a).all():
            raise UserError(f"{model.name} gives NaN or infinity on synthetic inputs; give real ones with --data")
        if a.shape != b.shape or not np.allclose(a, b, rtol=1e-3, atol=1e-5):
            raise UserError(
                f"{model.name} gives other outputs at every call (dropout or sampling in forward?), so no variant can "
                "be held against it; make it deterministic"
            )


def _run(model: Model, module: Any, batch: Arrays) -> Arrays:
    try:
        return run_module(module, batch)
    except Exception as error:
        shapes = ", ".join(
            f"{name} {array.dtype}{list(array.shape)}" for name, array in zip(model.input_names, batch, strict=True)
        )
        text = " ".join(str(error).split())
        raise UserError(f"{model.name} raised {type(error).__name__} on {shapes}: {text}") from error


def _follows_batch(module: Any, inputs: Sequence[InputSpec]) -> bool:
    """Whether two examples give two of every output."""
    try:
        outputs = run_module(module, _feed(inputs, 2))
    except Exception:  # noqa: BLE001 (whatever a user's module raises: it takes one example only)
        return False
    return all(o.ndim >= 1 and o.shape[0] == 2 for o in outputs)
