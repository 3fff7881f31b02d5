"""A suite cut down to one of its profiles, such as ``quick`` for CI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.errors import did_you_mean
from harness.suite import ExperimentSpec, Matrix, Profile, Suite

QUICK = "quick"


def with_profile(suite: Suite, name: str | None) -> Suite:
    """Return the suite that a profile leaves; None is the whole suite.

    Raises SuiteError, with the line, for a profile the suite does not have, and for a name in it that keeps nothing.
    """
    if name is None:
        return suite
    spec = suite.spec
    if name not in spec.profiles:
        have = f"it has: {', '.join(spec.profiles)}" if spec.profiles else "it has none; leave --profile out"
        raise suite.error(f"the suite has no profile '{name}'{did_you_mean(name, spec.profiles)}; {have}", "profiles")
    profile = spec.profiles[name]
    _check(suite, name, profile)
    kept = {i: e for i, e in enumerate(spec.experiments) if not profile.experiments or e.name in profile.experiments}
    changed: dict[str, Any] = {"experiments": tuple(_cut(e, profile) for e in kept.values())}
    if profile.measure is not None:
        changed["measure"] = profile.measure
    return suite.keeping(spec.model_copy(update=changed), list(kept))


def _cut(spec: ExperimentSpec, profile: Profile) -> ExperimentSpec:
    matrix = spec.matrix
    axes: dict[str, Any] = {
        axis: _kept(getattr(matrix, axis), getattr(profile, axis)) for axis in ("backend", "threads", "batch_size")
    }
    if profile.passes and set(profile.passes) & set(matrix.passes):
        axes["passes"] = {label: chain for label, chain in matrix.passes.items() if label in profile.passes}
    labels = _kept([v.label for v in spec.variants], profile.variants)
    cut = matrix.model_copy(update=axes)
    changed: dict[str, Any] = {"variants": tuple(v for v in spec.variants if v.label in labels), "matrix": cut}
    # A rule about a value that is left out matches nothing any more, which would be taken for a typing error.
    changed["exclude"] = tuple(rule for rule in spec.exclude if _alive(rule, cut))
    if profile.measure is not None:
        changed["measure"] = None
    return spec.model_copy(update=changed)


def _kept(values: Iterable[Any], listed: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the values that are listed; all of them where none is, so that a profile cannot empty an axis."""
    values = tuple(values)
    return tuple(v for v in values if v in listed) or values


def _alive(rule: Mapping[str, str | int], matrix: Matrix) -> bool:
    axes: Mapping[str, Any] = {axis: getattr(matrix, axis) for axis in Matrix.model_fields}
    return all(not axes[axis] or value in axes[axis] for axis, value in rule.items())


def _check(suite: Suite, name: str, profile: Profile) -> None:
    """Raise SuiteError for a name in the profile that nothing in the suite has."""
    experiments = suite.spec.experiments
    known: Mapping[str, set[Any]] = {
        "experiments": {e.name for e in experiments},
        "variants": {v.label for e in experiments for v in e.variants},
        **{axis: {v for e in experiments for v in getattr(e.matrix, axis)} for axis in Matrix.model_fields},
    }
    for key, have in known.items():
        for i, value in enumerate(getattr(profile, key)):
            if value not in have:
                raise suite.error(
                    f"profile '{name}' keeps {key} '{value}', which no experiment has"
                    f"{did_you_mean(str(value), map(str, have))}",
                    "profiles", name, key, i,
                )  # fmt: skip
