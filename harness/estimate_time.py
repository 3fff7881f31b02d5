"""About how long an experiment takes. A guess for people, from typical durations; nothing depends on it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.build import Builder
from harness.cache import Cache
from harness.errors import HarnessError
from harness.plan import Experiment
from harness.schema import Trial
from harness.workloads.scenario import SEARCH_S, terms_of

# Seconds seen on 2 cores with digits-cnn; larger models take longer.
START_S = {"torch": 1.3, "inductor": 1.9, "onnxruntime": 0.3, "openvino": 0.4, "fake": 0.15}
BUILD_S = {"torch": 4.0, "inductor": 30.0, "onnxruntime": 9.0, "openvino": 9.0, "fake": 0.5}
PASS_S = 3.0
TURN_S = 0.012  # untimed calls, stop and continue
SEARCH_TESTS = 12  # of a server's rate, each a third of the full length
LOAD_FIXED_S = 3.0  # calibrations and the floor


@dataclass(frozen=True)
class Guess:
    """Seconds, and the names of the trials whose artifact is in the cache."""

    build_s: float
    measure_least_s: float
    measure_most_s: float
    cached: frozenset[str]


def estimate(experiment: Experiment, cache: Cache) -> Guess:
    """Guess the duration of one experiment; trials that cannot run here cost nothing."""
    able = [t for t in experiment.trials if not t.unsupported]
    cached = frozenset(t.name for t in able if _is_cached(t, experiment.seed, cache))
    build = sum(1.0 if t.name in cached else BUILD_S.get(t.backend, 5.0) + PASS_S * len(t.passes) for t in able)
    policy = experiment.measure
    starts = sum(START_S.get(t.backend, 1.0) for t in able)
    replicate = starts + policy.rounds * len(able) * (policy.block_s + TURN_S)
    load = sum(_load_s(experiment, t) for t in able) if experiment.load else 0.0
    fixed = starts + len(able) * policy.utilization_s
    least = fixed + policy.replicates * replicate
    most = max(least, min(fixed + policy.budget_s, fixed + policy.max_replicates * replicate))
    return Guess(build, least + load, most + load, cached)


def _load_s(experiment: Experiment, trial: Trial) -> float:
    """Guess the duration of a trial's LoadGen test."""
    assert experiment.load is not None
    length = terms_of(trial.workload, experiment.load.model_dump()).min_duration_s
    search = SEARCH_TESTS * min(length / 3, SEARCH_S[1]) if trial.workload == "server" else 0.0
    return START_S.get(trial.backend, 1.0) + LOAD_FIXED_S + 1.4 * length + search


def _is_cached(trial: Trial, seed: int, cache: Cache) -> bool:
    # The key holds that interpreter's library versions, or needs the user's own code to run.
    if trial.interpreter or trial.source:
        return False
    try:
        key = Builder(trial, seed, cache, lambda _: None).key()
    except HarnessError:
        return False
    return cache.folder("artifacts", key).is_dir()
