"""From where a trial says its model comes from to a ``Model``: models/, a Python function, an ONNX file."""

from __future__ import annotations

import dataclasses
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import UserError
from harness.onnx_inputs import choose_inputs
from harness.schema import InputSpec, ModelSource, Trial
from harness.targets import Target, call, parse_target, resolve
from harness.userdata import from_folder, from_function, positional, synthetic
from harness.zoo import Model, OnnxFile, Split, SplitName, load_model, load_model_file


def model_of(trial: Trial) -> Model:
    """Return the model of a trial.

    Runs a user's code, so it belongs in a build worker. Raises UserError that says what is wrong with the model
    and how to mend it.
    """
    source = trial.source
    if source is None:
        return load_model(trial.model)
    if source.kind == "file":
        return load_model_file(Path(source.target))
    if source.kind == "onnx":
        return _onnx_model(trial.model, source)
    return _python_model(trial.model, source)


def _onnx_model(name: str, source: ModelSource) -> Model:
    path = Path(source.target)
    inputs = choose_inputs(path, source.inputs)
    return Model(
        name=name,
        task="",
        summary=f"the ONNX file {path.name}",
        build=lambda _seed: OnnxFile(path),
        data=lambda split: _data(source, inputs, split),
        metric=source.metric or "",
        source=str(path),
        license="",
        form="onnx",
        input_names=tuple(spec.name for spec in inputs),
        inputs=inputs,
        output_names=(),
        packages=("onnx", "onnxruntime"),
        extra="onnxruntime",
        synthetic=source.data is None,
    )


def _python_model(name: str, source: ModelSource) -> Model:
    target = parse_target(source.target)
    named = resolve(target, source.path)
    if isinstance(named, Model):
        return _adopted(named, source)
    # With the inputs stated nothing needs to be called before the module itself is wanted.
    made = None if source.inputs else _made(named, target, seed=0)
    if isinstance(made, Model):
        return _adopted(made, source)
    inputs = source.inputs or _inputs_of(made, target)

    def build(seed: int) -> Any:
        again = made is None or (seed != 0 and _needed(named) == ["seed"])
        return _module_of(_made(named, target, seed) if again else made, target).eval()

    return Model(
        name=name,
        task="",
        summary=str(target),
        build=build,
        data=lambda split: _data(source, inputs, split),
        metric=source.metric or "",
        source=str(target),
        license="",
        input_names=tuple(spec.name for spec in inputs),
        inputs=inputs,
        output_names=(),
        synthetic=source.data is None,
    )


def _adopted(model: Model, source: ModelSource) -> Model:
    """Return the user's ``Model`` with what the suite says otherwise."""
    if source.inputs:
        raise UserError(f"{source.target} is a Model, which has data of its own: leave out 'inputs'")
    return dataclasses.replace(model, metric=source.metric or model.metric)


def _made(named: Any, target: Target, seed: int) -> Any:
    """Call what a target names (with the seed where it takes one), or take it as it is when it is a module."""
    if hasattr(named, "state_dict") and not isinstance(named, type):
        return named
    if not callable(named):
        raise UserError(f"{target} is a {type(named).__name__}; it must be a function that returns a torch.nn.Module")
    needed = _needed(named)
    if needed and needed != ["seed"]:
        raise UserError(f"{target} needs arguments ({', '.join(needed)}); name a function that takes none, or 'seed'")
    _seed_everything(seed)
    return call(named, target, seed) if needed else call(named, target)


def _seed_everything(seed: int) -> None:
    """Seed what a user's function may draw from, so that random weights are the same at every run."""
    random.seed(seed)
    np.random.seed(seed)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


def _needed(named: Any) -> list[str]:
    """Return the arguments that a function cannot be called without."""
    return [p.name for p in positional(named) if p.default is p.empty]


def _module_of(made: Any, target: Target) -> Any:
    if isinstance(made, Model):  # with inputs stated, it shows only when the function is called
        raise UserError(f"{target} gives a Model, which has data of its own: leave out 'inputs'")
    module = made[0] if isinstance(made, tuple) and made else made
    if not hasattr(module, "state_dict"):
        raise UserError(f"{target} gives a {type(module).__name__}; it must return a torch.nn.Module")
    return module


def _inputs_of(made: Any, target: Target) -> tuple[InputSpec, ...]:
    """Return inputs from the examples that came with the module, named as its ``forward`` names them."""
    module = _module_of(made, target)
    if not (isinstance(made, tuple) and len(made) == 2):
        raise UserError(
            f"nobody knows what {target} takes: return (module, example_inputs) from it, or state the shape, "
            "as in --input 'x=batch,3,224,224' or 'inputs:' in the suite"
        )
    examples = made[1]
    if isinstance(examples, Mapping):
        return _named_inputs(examples, positional(module.forward), target)
    examples = examples if isinstance(examples, (tuple, list)) else (examples,)
    arrays = list(map(_array, examples))
    batched = _share_first_axis(arrays)
    names = [p.name for p in positional(module.forward)]
    if len(names) < len(arrays):
        names = [f"input_{i}" for i in range(len(arrays))]
    return tuple(_input_of(name, a, batched=batched) for name, a in zip(names, arrays, strict=False))


def _named_inputs(examples: Mapping[str, Any], parameters: Sequence[Any], target: Target) -> tuple[InputSpec, ...]:
    """Return inputs that were given by name, in the order of ``forward``'s parameters: it is called by position."""
    order = [p.name for p in parameters]
    unknown = [name for name in examples if name not in order]
    skipped = [p for p in order[: len(examples)] if p not in examples]
    if unknown or skipped:
        raise UserError(
            f"{target}: forward takes {', '.join(order)} in this order, and the example inputs are for "
            f"{', '.join(examples)}; give the first ones, without a gap"
        )
    arrays = {name: _array(examples[name]) for name in order if name in examples}
    batched = _share_first_axis(list(arrays.values()))
    return tuple(_input_of(name, array, batched=batched) for name, array in arrays.items())


def _array(example: Any) -> Any:
    return np.asarray(example.detach().cpu().numpy() if hasattr(example, "detach") else example)


def _share_first_axis(arrays: Sequence[Any]) -> bool:
    lengths = {a.shape[0] if a.ndim else None for a in arrays}
    return len(lengths) == 1 and None not in lengths


def _input_of(name: str, array: Any, *, batched: bool) -> InputSpec:
    shape = ("batch", *array.shape[1:]) if batched else array.shape
    if array.dtype.kind in "iu":  # the example is the one hint at the range that is allowed
        low, high = float(array.min()), float(array.max())
        # A mask of ones stays one; ids may be anything up to the largest that was shown.
        return InputSpec(name, str(array.dtype), shape, low if low == high else min(0.0, low), high + 1)
    return InputSpec(name, str(array.dtype), shape)


def _data(source: ModelSource, inputs: tuple[InputSpec, ...], split: SplitName) -> Split:
    if source.data is None:
        return synthetic(inputs, source.examples, split)
    if Path(source.data).is_dir():
        return from_folder(Path(source.data), inputs, split)
    target = parse_target(source.data)
    return from_function(resolve(target, source.path), target, inputs, split)
