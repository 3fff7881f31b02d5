"""Builds one trial inside a build worker: model → module passes → lower → lowered passes → artifact.

Every module stage is cached by itself, so a pruned and fine-tuned module that two backends measure is the very
same module, and adding a backend does not train again.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness import __version__
from harness.artifacts import DESCRIPTION, REFERENCE, intact, payload, read_description
from harness.backends import BACKENDS
from harness.backends.base import (
    Arrays,
    Available,
    LowerRequest,
    Unavailable,
    as_arrays,
    distribution_versions,
)
from harness.cache import Cache, hash_file, hash_files, key_of
from harness.environment import cpu_flags
from harness.errors import InvalidOutputError, UnsupportedError
from harness.passes import PASSES, BuildContext, Pass
from harness.schema import MODEL_STEP, Artifact, Fidelity, Step, Trial
from harness.zoo import Model, Split, SplitName, load_model, model_path, module_name

REFERENCE_EXAMPLES = 32
_ORDER = list(Fidelity)


@dataclasses.dataclass(frozen=True)
class Built:
    """What a build worker reports: where things lie in the cache."""

    artifact: Artifact
    directory: Path
    test_data: Path


class Builder:
    """Builds one trial, step by step; ``report`` is told the name of each step when it begins."""

    def __init__(self, trial: Trial, seed: int, cache: Cache, report: Callable[[str], None]) -> None:
        self.trial = trial
        self.seed = seed
        self.cache = cache
        self.report = report
        self.model: Model = load_model(trial.model)
        self.backend = BACKENDS.get(trial.backend)
        self.passes: list[Pass] = [PASSES.get(p.name)(**p.params) for p in trial.passes]
        self.versions = self._versions()
        self._splits: dict[str, Split] = {}

    def build(self) -> Built:
        """Return the artifact, from the cache where it is there.

        Raises UnsupportedError and InvalidOutputError as the passes and the backend do, and
        InvalidOutputError when a pass changed nothing.
        """
        test = self._test_data()
        key = self.key()

        def make(directory: Path) -> None:
            module, steps = self._stage(self._of_form("module"))
            steps += self._lower(module, directory)
            self._describe(directory, key, module, steps)

        directory, cached = self.cache.get_or_make("artifacts", key, make)
        if cached and not intact(directory):
            self.cache.discard("artifacts", key)
            directory, cached = self.cache.get_or_make("artifacts", key, make)
        artifact = read_description(directory, cached=cached)
        return Built(artifact, directory, test)

    def key(self) -> str:
        """Return the artifact's cache key: everything that could change its bytes."""
        return key_of(
            {
                "stage": self._stage_key(self._of_form("module")),
                "backend": self.backend.name,
                "code": _source_hash("backends"),
                "options": self.trial.options,
                "passes": [_identity(p) for p in self._of_form("lowered")],
                "versions": self.versions,
                "cpu": cpu_flags(),
                "batch": self.trial.batch_size if self.backend.static_batch else None,
                "threads": self.trial.threads if self.backend.static_threads else None,
            }
        )

    def _of_form(self, form: str) -> list[Pass]:
        return [p for p in self.passes if p.form == form]

    # -- data ------------------------------------------------------------------------------------------------

    def _data(self, split: SplitName) -> Split:
        if split not in self._splits:
            self._splits[split] = self.model.data(split)
        return self._splits[split]

    def _test_data(self) -> Path:
        """Write the test split once, as plain arrays that a worker without torch or sklearn can read."""
        key = key_of({"data": "test", **self._model_identity()})

        def make(directory: Path) -> None:
            self.report("data")
            split = self._data("test")
            arrays = {f"input_{i}": array for i, array in enumerate(split.inputs)}
            np.savez(directory / "test.npz", targets=split.targets, **arrays)  # type: ignore[arg-type]

        directory, _ = self.cache.get_or_make("data", key, make)
        return directory / "test.npz"

    # -- module stages ---------------------------------------------------------------------------------------

    def _stage_key(self, passes: list[Pass]) -> str:
        return key_of(
            {
                **self._model_identity(),
                "seed": self.seed,
                "passes": [_identity(p) for p in passes],
                "versions": {k: v for k, v in self.versions.items() if k in self._training_versions()},
                "cpu": cpu_flags(),
            }
        )

    def _stage(self, passes: list[Pass]) -> tuple[Any, list[Step]]:
        """Return the module after ``passes`` and the steps that led there, from the cache where possible."""
        key = self._stage_key(passes)

        def make(directory: Path) -> None:
            if passes:
                module, steps = self._stage(passes[:-1])
                module, step = self._apply(passes[-1], module)
            else:
                self.report(f"model {self.model.name}")
                began = time.perf_counter()
                module, steps = self.model.build(self.seed), []
                step = Step(MODEL_STEP, time.perf_counter() - began)
            _save_module(module, directory / "module")
            document: dict[str, Any] = {"steps": [dataclasses.asdict(s) for s in [*steps, step]]}
            document["sha256"] = hash_file(directory / "module")
            (directory / "stage.json").write_text(json.dumps(document))

        directory, cached = self.cache.get_or_make("modules", key, make)
        document = json.loads((directory / "stage.json").read_text())
        if cached and hash_file(directory / "module") != document["sha256"]:
            self.cache.discard("modules", key)
            return self._stage(passes)
        return _load_module(directory / "module"), [Step(**s) for s in document["steps"]]

    def _apply(self, item: Pass, module: Any) -> tuple[Any, Step]:
        self.report(item.name)
        before = _fingerprint(module)
        context = BuildContext(self.model, self.trial.batch_size, self.seed, self._data)
        began = time.perf_counter()
        module, detail = item.apply_module(module, context)
        seconds = time.perf_counter() - began
        if _fingerprint(module) == before:
            raise InvalidOutputError(f"{item.name} changed nothing in {self.model.name}")
        return module, Step(item.name, seconds, detail)

    # -- lowering --------------------------------------------------------------------------------------------

    def _lower(self, module: Any, directory: Path) -> list[Step]:
        examples = self.trial.batch_size if self.backend.static_batch else REFERENCE_EXAMPLES
        test = self._data("test")
        self._write_reference(test.batch(examples), directory)
        request = LowerRequest(
            example_inputs=test.batch(self.trial.batch_size),
            input_names=self.model.input_names,
            output_names=self.model.output_names,
            directory=directory,
            options=self.trial.options,
            threads=self.trial.threads,
        )
        self.report(f"lower to {self.backend.name}")
        began = time.perf_counter()
        self.backend.lower(module, request)
        steps = [Step("lower", time.perf_counter() - began)]
        context = BuildContext(self.model, self.trial.batch_size, self.seed, self._data)
        for item in self._of_form("lowered"):
            self.report(item.name)
            before = hash_files(payload(directory))
            began = time.perf_counter()
            detail = item.apply_lowered(self.backend.name, directory, context)
            steps.append(Step(item.name, time.perf_counter() - began, detail))
            if hash_files(payload(directory)) == before:
                raise InvalidOutputError(f"{item.name} changed nothing in the lowered {self.model.name}")
        return steps

    def _write_reference(self, inputs: Arrays, directory: Path) -> None:
        """Keep real inputs and the outputs they must still give.

        The reference is the module after the last pass that makes another function on purpose (pruned,
        fine-tuned), so that everything after it is held to its own, tighter bound.
        """
        passes = self._of_form("module")
        upto = max((i + 1 for i, p in enumerate(passes) if p.fidelity is Fidelity.QUALITY), default=0)
        module, _ = self._stage(passes[:upto])
        outputs = _run_module(module, inputs)
        arrays = {f"input_{i}": a for i, a in enumerate(inputs)} | {f"output_{i}": a for i, a in enumerate(outputs)}
        np.savez(directory / REFERENCE, **arrays)  # type: ignore[arg-type]

    def _fidelity(self) -> Fidelity:
        after = self.passes
        for i, item in enumerate(self.passes):
            if item.fidelity is Fidelity.QUALITY:
                after = self.passes[i + 1 :]
        return max((p.fidelity for p in after), key=_ORDER.index, default=Fidelity.RUNTIME)

    def _describe(self, directory: Path, key: str, module: Any, steps: list[Step]) -> None:
        files = payload(directory)
        artifact = Artifact(
            key=key,
            format=self.backend.format,
            files={str(p.relative_to(directory)): hash_file(p) for p in files},
            size_bytes=sum(p.stat().st_size for p in files),
            parameters=_parameter_count(module),
            steps=tuple(steps),
            fidelity=self._fidelity(),
            versions=self.versions,
            code=(module_name(model_path(self.model.name)), str(model_path(self.model.name))),
        )
        (directory / DESCRIPTION).write_text(json.dumps(dataclasses.asdict(artifact), indent=1))

    # -- identity --------------------------------------------------------------------------------------------

    def _model_identity(self) -> dict[str, Any]:
        return {
            "model": self.model.name,
            "code": hash_file(model_path(self.model.name)),
            "harness": __version__,
        }

    def _training_versions(self) -> set[str]:
        names = {"torch", *self.model.packages}
        for item in self.passes:
            if item.form == "module":
                names |= set(item.distributions)
        return names

    def _versions(self) -> dict[str, str]:
        probe = self.backend.probe("build")
        if isinstance(probe, Unavailable):
            raise UnsupportedError(probe.reason)
        assert isinstance(probe, Available)
        names = {name for p in self.passes for name in p.distributions} | set(self.model.packages)
        more, missing = distribution_versions(tuple(sorted(names)))
        if missing:
            extras = {extra for extra in (*(p.extra for p in self.passes), self.model.extra) if extra}
            hint = f"pip install 'optimization-harness[{','.join(sorted(extras))}]'" if extras else "install them"
            raise UnsupportedError(f"{', '.join(missing)} not installed: {hint}")
        return {**probe.versions, **more, "python": sys.version.split()[0]}


def _identity(item: Pass) -> dict[str, Any]:
    return {"name": item.name, "params": item.params(), "code": _source_hash("passes")}


@functools.cache
def _source_hash(package: str) -> str:
    """Hash all code of ``passes`` or ``backends``: a helper that changed must not leave a stale build behind."""
    folder = Path(__file__).parent / package
    return hash_files(folder.glob("*.py"))


def _is_torch_module(module: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(module, torch.nn.Module)


def _save_module(module: Any, path: Path) -> None:
    if _is_torch_module(module):
        import torch

        torch.save(module, path)
    else:
        path.write_bytes(pickle.dumps(module))


def _load_module(path: Path) -> Any:
    # Only ever called on files of the local cache whose hash was checked.
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    if zipped:
        import torch

        return torch.load(path, weights_only=False)
    return pickle.loads(path.read_bytes())


def _run_module(module: Any, inputs: Arrays) -> Arrays:
    if _is_torch_module(module):
        import torch

        with torch.inference_mode():
            outputs = module.eval()(*(torch.from_numpy(a) for a in inputs))
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        return as_arrays([o.float().numpy() if o.is_floating_point() else o.numpy() for o in outputs])
    return as_arrays(module(*inputs))


def _fingerprint(module: Any) -> str:
    if not _is_torch_module(module):
        return hashlib.sha256(pickle.dumps(module)).hexdigest()
    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(dtype=_bytes_dtype()).numpy().tobytes())
    return digest.hexdigest()


def _bytes_dtype() -> Any:
    import torch

    return torch.uint8


def _parameter_count(module: Any) -> int | None:
    return sum(p.numel() for p in module.parameters()) if _is_torch_module(module) else None
