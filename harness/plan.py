"""From a suite to experiments and their trials. Pure: what exists is told by a ``Catalog``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import UserError, did_you_mean
from harness.schema import ModelSource, PassSpec, Trial
from harness.suite import ExperimentSpec, Load, Measure, ModelEntry, Suite, Variant


@dataclass(frozen=True)
class PassEntry:
    """What planning needs to know of a pass.

    Attributes:
        form: ``module`` or ``lowered``.
        check: raises ValueError or TypeError with a sentence when the parameters are wrong.
        unsupported_on: ``backend → reason`` or None when the pair exists and can run here.
    """

    form: str
    check: Callable[[Mapping[str, object]], None]
    unsupported_on: Callable[[str], str | None]


@dataclass(frozen=True)
class BackendEntry:
    """What planning needs to know of a backend.

    Attributes:
        options: name → allowed values, empty for any.
        unavailable: ``(interpreter, form of the model) → reason`` or None when it can be used.
        devices: names of the devices it runs on.
    """

    options: Mapping[str, tuple[object, ...]]
    unavailable: Callable[[str | None, str], str | None]
    devices: tuple[str, ...] = ("cpu",)


@dataclass(frozen=True)
class ModelCard:
    """What planning needs to know of a model.

    Attributes:
        form: ``torch`` or ``onnx``: what it is before any pass.
        source: where it comes from; None for a name in models/.
    """

    name: str
    quality_margin: float
    unavailable: Callable[[], str | None]
    form: str = "torch"
    source: ModelSource | None = None


@dataclass(frozen=True)
class Catalog:
    """All names a suite may use.

    Attributes:
        device_unavailable: device → why this host has none, or None.
        model: ``(entry of the suite, folder its paths are relative to) → card``; raises UserError.
    """

    model: Callable[[ModelEntry, Path], ModelCard]
    backends: Mapping[str, BackendEntry]
    passes: Mapping[str, PassEntry]
    cores: int
    device_unavailable: Callable[[str], str | None] = lambda _: None


@dataclass(frozen=True)
class Experiment:
    """One model, one workload, one device: the trials that run side by side. The baseline comes first.

    ``load`` asks for a LoadGen test of each trial after the rounds.
    """

    name: str
    model: str
    trials: tuple[Trial, ...]
    measure: Measure
    quality_margin: float
    seed: int
    load: Load | None = None

    @property
    def baseline(self) -> Trial:
        """The trial all others are compared with."""
        return self.trials[0]


def plan(suite: Suite, catalog: Catalog) -> list[Experiment]:
    """Expand a suite into experiments.

    ``threads`` and ``batch_size`` axes make experiments; for each backend that occurs, its row without passes
    is added when the suite does not name it. A trial that cannot run here keeps its place, with the reason in
    ``Trial.unsupported``. Raises SuiteError for unknown names, wrong parameters and names used twice.
    """
    experiments: list[Experiment] = []
    for index, spec in enumerate(suite.spec.experiments):
        try:
            card = catalog.model(spec.model, suite.folder)
        except UserError as error:
            raise suite.error(str(error), "experiments", index, "model") from error
        if spec.baseline is None:
            engine = "onnxruntime" if card.form == "onnx" else "torch"
            spec = spec.model_copy(update={"baseline": Variant(backend=engine)})
        _check_names(suite, index, spec, catalog)
        _check_exclude(suite, index, spec)
        experiments += _expand(suite, index, spec, card, catalog)
    names = [e.name for e in experiments]
    for name in names:
        if names.count(name) > 1:
            raise suite.error(f"two experiments are called '{name}'; rename one", "experiments")
    return experiments


def _expand(suite: Suite, index: int, spec: ExperimentSpec, card: ModelCard, catalog: Catalog) -> list[Experiment]:
    threads_axis = spec.matrix.threads or (spec.threads,)
    load = spec.load_test
    batch = load.samples_per_query if load and spec.workload == "multi-stream" else spec.batch_size
    batch_axis = spec.matrix.batch_size or (batch,)
    experiments = []
    for threads, batch in itertools.product(threads_axis, batch_axis):
        cell: dict[str, str | int] = {"threads": threads, "batch_size": batch}
        if any(set(rule) <= set(cell) and _matches(rule, cell) for rule in spec.exclude):
            continue
        name = spec.name
        name += f"-t{threads}" if len(threads_axis) > 1 else ""
        name += f"-b{batch}" if len(batch_axis) > 1 else ""
        variants = [*spec.variants, *_matrix_variants(spec, cell)]
        trials = _trials(suite, index, spec, name, variants, threads, batch)
        trials = [replace(t, model=card.name, source=card.source) for t in trials]
        trials = [replace(t, unsupported=_why_not(t, card, catalog)) for t in trials]
        margin = card.quality_margin if spec.quality_margin is None else spec.quality_margin
        measure = spec.measure or suite.spec.measure
        experiments.append(Experiment(name, card.name, tuple(trials), measure, margin, suite.spec.seed, load))
    if not experiments:
        raise suite.error(f"exclude leaves nothing of experiment '{spec.name}'", "experiments", index, "exclude")
    return experiments


def _check_exclude(suite: Suite, index: int, spec: ExperimentSpec) -> None:
    """Raise SuiteError for a rule that can match nothing, which is a typing error."""
    matrix = spec.matrix
    axes: dict[str, Collection[str | int]] = {
        "backend": matrix.backend or ((_baseline(spec).backend,) if matrix.passes else ()),
        "passes": tuple(matrix.passes),
        "threads": matrix.threads or (spec.threads,),
        "batch_size": matrix.batch_size or (spec.batch_size,),
    }
    for i, rule in enumerate(spec.exclude):
        for axis, value in rule.items():
            if value not in axes[axis]:
                hint = did_you_mean(str(value), map(str, axes[axis]))
                message = f"exclude: {axis} of the matrix never is '{value}'{hint}"
                raise suite.error(message, "experiments", index, "exclude", i, axis)


def _matrix_variants(spec: ExperimentSpec, cell: dict[str, str | int]) -> list[Variant]:
    matrix = spec.matrix
    if not matrix.backend and not matrix.passes:
        return []
    chains: dict[str, tuple[PassSpec, ...]] = {**matrix.passes} if matrix.passes else {"": ()}
    variants = []
    for backend, (label, passes) in itertools.product(matrix.backend or (_baseline(spec).backend,), chains.items()):
        if any(_matches(rule, {**cell, "backend": backend, "passes": label}) for rule in spec.exclude):
            continue
        name = f"{backend}-{label}" if label and passes else None
        variants.append(Variant(name=name, backend=backend, passes=passes))
    return variants


def _baseline(spec: ExperimentSpec) -> Variant:
    assert spec.baseline is not None  # ``plan`` has put one in
    return spec.baseline


def _matches(rule: Mapping[str, str | int], cell: Mapping[str, str | int]) -> bool:
    return all(cell.get(axis) == value for axis, value in rule.items())


def _trials(
    suite: Suite,
    index: int,
    spec: ExperimentSpec,
    name: str,
    variants: list[Variant],
    threads: int,
    batch: int,
) -> list[Trial]:
    def trial(variant: Variant) -> Trial:
        return Trial(
            name=variant.label,
            experiment=name,
            model="",
            backend=variant.backend,
            passes=variant.passes,
            options=dict(variant.options),
            role="variant" if variant.passes or variant.options else "plain",
            workload=spec.workload,
            batch_size=batch,
            threads=variant.threads or threads,
            device=spec.device,
            interpreter=variant.interpreter,
        )

    baseline = replace(trial(_baseline(spec)), role="baseline")
    rest = [trial(v) for v in variants]
    # A row that says the same as the baseline is the baseline, unless the suite gave it a name of its own (A/A).
    rest = [t for t in rest if replace(t, role="baseline") != baseline]
    named = {(t.backend, t.threads, t.interpreter) for t in [baseline, *rest] if not t.passes and not t.options}
    plain = []
    for t in rest:
        key = (t.backend, t.threads, t.interpreter)
        if key not in named:
            plain.append(replace(t, name=_plain_name(t, named), passes=(), options={}, role="plain"))
            named.add(key)
    trials = [baseline, *plain, *rest]
    labels = [t.name for t in trials]
    for label in labels:
        if labels.count(label) > 1:
            raise suite.error(
                f"two variants of '{spec.name}' are called '{label}'; give one another name",
                "experiments",
                index,
                "variants",
            )
    return trials


def _plain_name(trial: Trial, named: Collection[tuple[str, int, str | None]]) -> str:
    """Name an added row after its backend, and after what sets it apart from that backend's other plain rows."""
    others = [key for key in named if key[0] == trial.backend]
    if not others:
        return trial.backend
    if all(threads != trial.threads for _, threads, _ in others):
        return f"{trial.backend}-t{trial.threads}"
    return f"{trial.backend}-{len(others) + 1}"


def _why_not(trial: Trial, card: ModelCard, catalog: Catalog) -> str | None:
    reason = card.unavailable() or catalog.backends[trial.backend].unavailable(trial.interpreter, card.form)
    if reason:
        return reason
    if trial.device not in catalog.backends[trial.backend].devices:
        return f"{trial.backend} does not run on {trial.device} here"
    if reason := catalog.device_unavailable(trial.device):
        return reason
    if trial.threads > catalog.cores:
        return f"asks for {trial.threads} threads, this host has {catalog.cores} cores"
    for spec in trial.passes:
        if card.form == "onnx" and catalog.passes[spec.name].form == "module":
            return f"{spec.name} changes a torch module, and {card.name} is an ONNX file"
        reason = catalog.passes[spec.name].unsupported_on(trial.backend)
        if reason:
            return reason
    return None


def _check_names(suite: Suite, index: int, spec: ExperimentSpec, catalog: Catalog) -> None:
    here = ("experiments", index)
    _check_variant(suite, _baseline(spec), catalog, (*here, "baseline"))
    for i, variant in enumerate(spec.variants):
        _check_variant(suite, variant, catalog, (*here, "variants", i))
    for i, backend in enumerate(spec.matrix.backend):
        _check_backend(suite, backend, catalog, (*here, "matrix", "backend", i))
    for label, passes in spec.matrix.passes.items():
        _check_chain(suite, passes, catalog, (*here, "matrix", "passes", label))


def _check_variant(suite: Suite, variant: Variant, catalog: Catalog, path: tuple[str | int, ...]) -> None:
    _check_backend(suite, variant.backend, catalog, (*path, "backend"))
    known = catalog.backends[variant.backend].options
    for option, value in variant.options.items():
        if option not in known:
            raise suite.error(
                f"backend '{variant.backend}' has no option '{option}'{did_you_mean(option, known)}",
                *path,
                "options",
                option,
            )
        if known[option] and value not in known[option]:
            allowed = ", ".join(map(str, known[option]))
            raise suite.error(f"{variant.backend} takes {option}: {allowed}, not {value!r}", *path, "options", option)
    _check_chain(suite, variant.passes, catalog, (*path, "passes"))


def _check_backend(suite: Suite, name: str, catalog: Catalog, path: tuple[str | int, ...]) -> None:
    if name not in catalog.backends:
        raise suite.error(f"unknown backend '{name}'{did_you_mean(name, catalog.backends)}", *path)


def _check_chain(suite: Suite, passes: tuple[PassSpec, ...], catalog: Catalog, path: tuple[str | int, ...]) -> None:
    lowered: str | None = None
    for i, spec in enumerate(passes):
        entry = catalog.passes.get(spec.name)
        if entry is None:
            raise suite.error(f"unknown pass '{spec.name}'{did_you_mean(spec.name, catalog.passes)}", *path, i)
        try:
            entry.check(spec.params)
        except (TypeError, ValueError) as error:
            raise suite.error(f"{spec.name}: {error}", *path, i) from error
        if entry.form == "module" and lowered:
            raise suite.error(
                f"'{spec.name}' changes the module, so it must come before '{lowered}', which rewrites the "
                "lowered artifact",
                *path,
                i,
            )
        lowered = spec.name if entry.form == "lowered" else lowered
