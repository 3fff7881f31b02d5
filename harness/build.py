"""Builds one trial inside a build worker: model → module passes → lower → lowered passes → artifact.

Every module stage is cached by itself, so a pruned and fine-tuned module that two backends measure is the very
same module, and adding a backend does not train again.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness import __version__
from harness.artifacts import DESCRIPTION, intact, payload, read_description
from harness.backends import BACKENDS
from harness.backends.base import (
    Arrays,
    Available,
    LowerRequest,
    Unavailable,
    distribution_versions,
)
from harness.cache import Cache, hash_file, hash_files, hash_source, key_of
from harness.dataset import DATA_FILE, DataCard, DataKind, TestData, write_test_data
from harness.environment import cpu_flags
from harness.errors import HarnessError, InvalidOutputError, UnsupportedError, UserError
from harness.measure.quality import METRICS, agreement_metric
from harness.modules import (
    class_hashes,
    load_module,
    module_hash,
    parameter_count,
    run_module,
    save_module,
    saved_bytes,
)
from harness.onnx_files import external_files
from harness.passes import PASSES, BuildContext, Change, Pass, Stage
from harness.reference import write_reference
from harness.schema import MODEL_STEP, Artifact, Fidelity, Step, Trial
from harness.sources import model_of
from harness.targets import code_hash, parse_target
from harness.work import count_work
from harness.zoo import Model, Split, SplitName, model_path

REFERENCE_EXAMPLES = 32
REFERENCE_CALLS = 4  # of a model of the user's own, which may be slow
_ORDER = list(Fidelity)
_SHARED = ("exported.py", "onnx_files.py", "openvino_files.py")  # what passes and backends both lean on


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
        self.model: Model = model_of(trial)
        self.backend = BACKENDS.get(trial.backend)
        self.passes: list[Pass] = [PASSES.get(p.name)(**p.params) for p in trial.passes]
        self.versions = self._versions()
        self._splits: dict[str, Split] = {}
        self._given: Any = None  # the user's module, when it had to be made to know its fingerprint

    @functools.cached_property
    def fingerprint(self) -> str:
        """What a user's model and data stand for; empty for the harness's own models.

        A Python function can do anything, so it is called and its weights, code and data are hashed. The run asks
        for that once and hands the answer to the builds that follow.
        """
        source = self.trial.source
        if source is None or source.fingerprint:
            return source.fingerprint if source else ""
        stated = dataclasses.asdict(dataclasses.replace(source, target="", data=None, path=""))
        parts: dict[str, Any] = {"stated": stated}
        if source.kind == "file":
            parts["code"] = code_hash(source.target)
        elif source.kind == "onnx":
            parts["files"] = hash_files(_onnx_files(Path(source.target)))
        else:
            self.report(f"model {self.model.name}")
            self._given = self.model.build(self.seed)
            parts["weights"] = module_hash(self._given)
            parts["code"] = [code_hash(parse_target(source.target).place, source.path), *class_hashes(self._given)]
        if source.data is not None:
            parts["data"] = [_split_hash(self._data(split)) for split in ("test", "calibration")]
        return key_of(parts)

    def build(self) -> Built:
        """Return the artifact, from the cache where it is there.

        Raises UnsupportedError and InvalidOutputError as the passes and the backend do, and
        InvalidOutputError when a pass changed nothing.
        """
        test = self._test_data()
        key = self.key()

        def make(directory: Path) -> None:
            module, steps = self._stage(self._at("module"))
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
                "lineage": self.lineage(),
                "batch": self.trial.batch_size if self.backend.static_batch else None,
                "threads": self.trial.threads if self.backend.static_threads else None,
            }
        )

    def lineage(self) -> str:
        """Return the key of what is computed, however many examples or threads are baked into it."""
        return key_of(
            {
                "stage": self._stage_key(self._at("module")),
                "backend": self.backend.name,
                "place": self._code() if self.backend.unpickles else None,
                "code": _source_hash("backends"),
                "description": 4,  # since when it says what a call must compute and move
                "options": self.trial.options,
                "passes": [_identity(p) for p in (*self._at("exported"), *self._at("lowered"))],
                "versions": self.versions,
                "cpu": cpu_flags(),
            }
        )

    def _at(self, stage: Stage) -> list[Pass]:
        return [p for p in self.passes if p.stage_on(self.trial.backend) == stage]

    # -- data ------------------------------------------------------------------------------------------------

    def _data(self, split: SplitName) -> Split:
        if split not in self._splits:
            self._splits[split] = self.model.data(split)
        return self._splits[split]

    def _test_data(self) -> Path:
        """Write the test split once, as plain arrays that a worker without torch or sklearn can read."""
        key = key_of({"data": "test", "format": 2, **self._model_identity(), **self._judgment_identity()})

        def make(directory: Path) -> None:
            self.report("data")
            data, card = self._judged(self._data("test"))
            write_test_data(directory, data, card)

        directory, _ = self.cache.get_or_make("data", key, make)
        return directory / DATA_FILE

    def _judged(self, split: Split) -> tuple[TestData, DataCard]:
        """Say how outputs on a split are judged, with the unoptimized model's outputs where they are what is right."""
        labeled = split.targets is not None
        metric = self.model.metric or ("accuracy" if labeled else "")
        kind: DataKind = "test" if labeled else "synthetic" if self.model.synthetic else "unlabeled"
        if metric and METRICS.get(metric).against == "targets":
            if not labeled:
                raise UserError(
                    f"{metric} needs targets, and the data of {self.model.name} has none; leave 'metric' out"
                )
            return TestData(split), DataCard(metric, kind)
        expected = self._expected(split)
        if isinstance(expected, str):
            return TestData(split), DataCard(None, kind, expected)
        return TestData(split, expected), DataCard(metric or agreement_metric(expected), kind)

    def _expected(self, split: Split) -> Arrays | str:
        """Return the unoptimized model's outputs, first axis the examples; or why they cannot be compared in pairs."""
        self.report("outputs of the unoptimized model")
        module, _ = self._stage([])
        size, n = self.trial.batch_size, len(split)
        calls: list[Arrays] = []
        for start in range(0, n, size):
            outputs = run_module(module, split.batch(size, start))
            outputs = tuple(o[np.newaxis] for o in outputs) if split.stacked else outputs
            if any(o.ndim == 0 or len(o) != size for o in outputs):
                return "the outputs have no axis that counts the examples"
            calls.append(tuple(o[: min(size, n - start)] for o in outputs))
        if len({tuple(o.shape[1:] for o in call) for call in calls}) > 1:
            return "the outputs differ in shape from call to call"
        return tuple(np.concatenate(column) for column in zip(*calls, strict=True))

    # -- module stages ---------------------------------------------------------------------------------------

    def _stage_key(self, passes: list[Pass]) -> str:
        return key_of(
            {
                **self._model_identity(),
                "place": self._place(),
                "seed": self.seed,
                "passes": [_identity(p) for p in passes],
                "versions": {k: v for k, v in self.versions.items() if k in self._training_versions(passes)},
                "cpu": cpu_flags(),
            }
        )

    def _stage(self, passes: list[Pass]) -> tuple[Any, list[Step]]:
        """Return the module after ``passes`` and the steps that led there, from the cache where possible."""
        if self.model.form == "onnx":
            return self.model.build(self.seed), [Step(MODEL_STEP, 0.0)]
        key = self._stage_key(passes)

        def make(directory: Path) -> None:
            if passes:
                module, steps = self._stage(passes[:-1])
                module, step = self._apply(passes[-1], module)
            else:
                self.report(f"model {self.model.name}")
                began = time.perf_counter()
                module, steps = self.model.build(self.seed) if self._given is None else self._given, []
                step = Step(MODEL_STEP, time.perf_counter() - began)
            save_module(module, directory / "module")
            document: dict[str, Any] = {"steps": [dataclasses.asdict(s) for s in [*steps, step]]}
            document["sha256"] = hash_file(directory / "module")
            (directory / "stage.json").write_text(json.dumps(document))

        directory, cached = self.cache.get_or_make("modules", key, make)
        document = json.loads((directory / "stage.json").read_text())
        if cached and hash_file(directory / "module") != document["sha256"]:
            self.cache.discard("modules", key)
            return self._stage(passes)
        return load_module(directory / "module"), [Step(**s) for s in document["steps"]]

    def _apply(self, item: Pass, module: Any) -> tuple[Any, Step]:
        self.report(item.name)
        before = module_hash(module)
        context = BuildContext(self.model, self.trial.batch_size, self.seed, self._data)
        size = saved_bytes(module)
        began = time.perf_counter()
        module, change = item.apply_module(module, context)
        seconds = time.perf_counter() - began
        if module_hash(module) == before:
            raise InvalidOutputError(f"{item.name} changed nothing in {self.model.name}")
        return module, _step(item, seconds, change, size, saved_bytes(module))

    # -- lowering --------------------------------------------------------------------------------------------

    def _lower(self, module: Any, directory: Path) -> list[Step]:
        # A user's model may be too large for many examples at once.
        fixed = self.backend.static_batch or self.trial.source is not None
        test = self._data("test")
        size = self.trial.batch_size if fixed else REFERENCE_EXAMPLES
        most = REFERENCE_CALLS if self.trial.source else REFERENCE_EXAMPLES
        self._write_reference(
            test, size, min(most, -(-REFERENCE_EXAMPLES // size), max(1, len(test) // size)), directory
        )
        context = BuildContext(self.model, self.trial.batch_size, self.seed, self._data)
        exported: list[Step] = []
        noted: list[Step] = []

        def transform(program: Any) -> Any:
            for item in self._at("exported"):
                self.report(item.name)
                began = time.perf_counter()
                program, change = item.apply_exported(program, context)
                exported.append(_step(item, time.perf_counter() - began, change))
            return program

        request = LowerRequest(
            example_inputs=test.batch(self.trial.batch_size),
            input_names=self.model.input_names,
            output_names=self.model.output_names,
            directory=directory,
            options=self.trial.options,
            threads=self.trial.threads,
            batched=not test.stacked,
            transform=transform,
            transforms=bool(self._at("exported")),
            note=noted.append,
        )
        self.report(f"lower to {self.backend.name}")
        began = time.perf_counter()
        self.backend.lower(module, request)
        seconds = time.perf_counter() - began - sum(step.seconds for step in (*exported, *noted))
        if len(exported) != len(self._at("exported")):
            raise HarnessError(f"backend {self.backend.name} took no notice of the passes on its exported program")
        steps = [Step("lower", seconds), *exported, *noted]
        for item in self._at("lowered"):
            self.report(item.name)
            before, size = hash_files(payload(directory)), _size(directory)
            began = time.perf_counter()
            change = item.apply_lowered(self.backend.name, directory, context)
            steps.append(_step(item, time.perf_counter() - began, change, size, _size(directory)))
            if hash_files(payload(directory)) == before:
                raise InvalidOutputError(f"{item.name} changed nothing in the lowered {self.model.name}")
        return steps

    def _write_reference(self, test: Split, size: int, calls: int, directory: Path) -> None:
        """Keep what some calls must still give.

        The reference is the module after the last pass that makes another function on purpose (pruned,
        fine-tuned), so that everything after it is held to its own, tighter bound.
        """
        passes = self._at("module")
        upto = max((i + 1 for i, p in enumerate(passes) if p.fidelity is Fidelity.QUALITY), default=0)
        module, _ = self._stage(passes[:upto])
        inputs = [test.batch(size, i * size) for i in range(calls)]
        write_reference(directory, inputs, [run_module(module, batch) for batch in inputs], size)

    def _fidelity(self) -> Fidelity:
        after = self.passes
        for i, item in enumerate(self.passes):
            if item.fidelity is Fidelity.QUALITY:
                after = self.passes[i + 1 :]
        return max((self.backend.fidelity(self.trial.options), *(p.fidelity for p in after)), key=_ORDER.index)

    def _describe(self, directory: Path, key: str, module: Any, steps: list[Step]) -> None:
        files = payload(directory)
        artifact = Artifact(
            key=key,
            format=self.backend.format_of(directory),
            files={str(p.relative_to(directory)): hash_file(p) for p in files},
            size_bytes=_size(directory),
            parameters=parameter_count(module),
            steps=tuple(steps),
            fidelity=self._fidelity(),
            versions=self.versions,
            code=self._code() if self.backend.needs_code(directory) else None,
            lineage=self.lineage(),
            work=count_work(module, self._data("test").batch(self.trial.batch_size), self.trial.batch_size, directory),
        )
        (directory / DESCRIPTION).write_text(json.dumps(dataclasses.asdict(artifact), indent=1))

    # -- identity --------------------------------------------------------------------------------------------

    def _code(self) -> str:
        """Return what must be imported before the module can be unpickled."""
        source = self.trial.source
        if source is None:
            return str(model_path(self.model.name))
        return source.target if source.kind == "file" else parse_target(source.target).place

    def _model_identity(self) -> dict[str, Any]:
        code = self.fingerprint if self.trial.source else hash_source(model_path(self.model.name))
        files = {"files": self._files_hash} if self.model.files else {}
        return {"model": self.model.name, "code": code, "harness": __version__, **files}

    @functools.cached_property
    def _files_hash(self) -> str:
        """Hash what the model reads beside packages; raises UnsupportedError when a file is missing."""
        missing = self.model.missing_files()
        if missing:
            raise UnsupportedError(missing)
        return key_of([hash_source(p) if p.suffix == ".py" else hash_file(p) for p in self.model.files])

    def _judgment_identity(self) -> dict[str, Any]:
        """Return what outputs of the unoptimized model depend on beside it, where they may be what is right."""
        metric = self.model.metric
        if metric and METRICS.get(metric).against == "targets":
            return {}
        return {"seed": self.seed, "batch": self.trial.batch_size}

    def _place(self) -> str | None:
        """Return where a user's classes live, because a pickle names it; None where their names are fixed."""
        return self._code() if self.trial.source and self.model.form == "torch" else None

    def _training_versions(self, passes: list[Pass]) -> set[str]:
        """Return the distributions that a module stage depends on, those of later passes left out.

        Otherwise a quantizer's package would make another model of the one that all variants share.
        """
        names = {"torch", *self.model.packages}
        for item in passes:
            names |= set(item.distributions_on(self.trial.backend))
        return names

    def _versions(self) -> dict[str, str]:
        probe = self.backend.probe("build", self.model.form)
        if isinstance(probe, Unavailable):
            raise UnsupportedError(probe.reason)
        assert isinstance(probe, Available)
        needed = {name for item in self.passes for name in item.distributions_on(self.trial.backend)}
        more, missing = distribution_versions(tuple(sorted(needed | set(self.model.packages))))
        if missing:
            extras = {extra for extra in (*(p.extra for p in self.passes), self.model.extra) if extra}
            hint = f"pip install 'optimization-harness[{','.join(sorted(extras))}]'" if extras else "install them"
            raise UnsupportedError(f"{', '.join(missing)} not installed: {hint}")
        return {**probe.versions, **more, "python": sys.version.split()[0]}


def _step(item: Pass, seconds: float, change: Change, before: int | None = None, after: int | None = None) -> Step:
    return Step(item.name, seconds, change.detail, change.layers, change.of, before, after)


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in payload(directory))


def _identity(item: Pass) -> dict[str, Any]:
    return {"name": item.name, "params": item.params(), "code": _source_hash("passes")}


@functools.cache
def _source_hash(package: str) -> str:
    """Hash all code of ``passes`` or ``backends``: a helper that changed must not leave a stale build behind."""
    root = Path(__file__).parent
    return key_of(
        [hash_source(path) for path in (*sorted((root / package).glob("*.py")), *(root / n for n in _SHARED))]
    )


def _onnx_files(path: Path) -> list[Path]:
    """Return an ONNX file and the files beside it that hold its weights."""
    return [path, *external_files(path)]


def _split_hash(split: Split) -> str:
    digest = hashlib.sha256(repr((split.stacked, split.targets is None)).encode())
    for array in (*split.inputs, *([] if split.targets is None else [split.targets])):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
