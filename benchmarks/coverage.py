"""Does the 95 % interval of a speed-up hold what it promises? A simulation with the product's own functions.

Every simulated experiment is judged by :func:`harness.stats.estimate.speedup`,
:func:`harness.stats.estimate.percentile` and :func:`harness.stats.compare.speed_verdict` as the coordinator
would use them. The tables go to standard output as GitHub markdown::

    python -m benchmarks.coverage --write docs/measurement.md
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal, stats

from harness.stats.compare import Speed, speed_verdict
from harness.stats.estimate import Estimate, NotEnough, percentile, speedup

Floats = NDArray[np.floating[Any]]

BEGIN, END = "<!-- coverage:begin -->", "<!-- coverage:end -->"
TARGET = 0.01  # the stop rule's relative half-width
MARGIN = 0.02
HOST_PHI = 0.9  # autocorrelation of the host's state from one block to the next
MAX_BOOTSTRAPPED = 1500  # experiments a cell where a bootstrap takes part
RESAMPLES = 1000


@dataclass(frozen=True)
class Scenario:
    """What disturbs an experiment; every figure is on the log scale, so 0.01 is about 1 %.

    Attributes:
        noise: sd of the own noise of a block's median; AR(1) with ``noise_phi`` from round to round.
        offset: sd of a process's offset, normal or, if ``heavy``, Student's t with 4 degrees of freedom.
        drift, walk: slope, and sd of the random walk's step, of the state both sides share, a block.
        host: sd of that state's AR(1) part, with coefficient ``HOST_PHI`` from block to block.
        spikes: probability that a block is multiplied by 1.3 to 5.
    """

    name: str
    noise: float = 0.005
    noise_phi: float = 0.0
    offset: float = 0.0
    heavy: bool = False
    drift: float = 0.0
    walk: float = 0.0
    host: float = 0.0
    spikes: float = 0.0


QUIET = Scenario("quiet")
OFFSETS = Scenario("process offsets 0.7 %", offset=0.007)
EVERYTHING = Scenario(
    "everything at once",
    noise_phi=0.5,
    offset=0.007,
    heavy=True,
    drift=0.002,
    walk=0.005,
    host=0.02,
    spikes=0.03,
)
SCENARIOS = (
    QUIET,
    Scenario("drift", drift=0.002, walk=0.005),
    Scenario("spikes", spikes=0.03),
    Scenario("autocorrelated", host=0.02, noise_phi=0.5),
    Scenario("process offsets 0.3 %", offset=0.003),
    OFFSETS,
    Scenario("process offsets 1.1 %", offset=0.011),
    Scenario("process offsets 2 %", offset=0.02),
    Scenario("process offsets 0.7 %, heavy tails", offset=0.007, heavy=True),
    EVERYTHING,
)


@dataclass(frozen=True)
class Design:
    """How many replicates of how many rounds; between ``first`` and ``last`` the stop rule decides."""

    name: str
    first: int
    last: int
    rounds: int


PRODUCT = Design("the product's rule: 5 to 10 replicates × 20 rounds", 5, 10, 20)
FIXED = (Design("fixed: 3 × 8", 3, 3, 8), Design("fixed: 5 × 8", 5, 5, 8))
ONE_PROCESS = Design("one replicate × 40 rounds", 1, 1, 40)
DESIGNS = (PRODUCT, *FIXED, ONE_PROCESS)


@dataclass(frozen=True)
class Simulated:
    """N experiments: ``log_ratios`` of shape (N, replicates, rounds), and their true logs of the speed-up.

    ``host`` is the truth over all processes that could be started, ``process`` of shape (N, replicates) the
    truth of the very processes drawn: host plus the difference of their offsets.
    """

    log_ratios: Floats
    host: float
    process: Floats


@dataclass(frozen=True)
class Outcome:
    """One experiment as the product saw it; ``used`` replicates were run."""

    estimate: Estimate
    used: int


@dataclass(frozen=True)
class Cell:
    """Shares over N experiments; ``half_width`` is the median of the relative half-width."""

    coverage: float
    host_coverage: float
    half_width: float
    different: float
    same: float
    replicates: float


def simulate(
    scenario: Scenario,
    replicates: int,
    rounds: int,
    experiments: int,
    rng: np.random.Generator,
    effect: float = 0.0,
) -> Simulated:
    """Draw experiments of two interleaved sides with a true speed-up of ``1 + effect``."""
    shape = (experiments, replicates, rounds)
    offsets = scenario.offset * _unit_noise(scenario.heavy, (*shape[:2], 2), rng)
    process = np.log1p(effect) + offsets[..., 0] - offsets[..., 1]
    own = scenario.noise * _ar1(scenario.noise_phi, (*shape[:2], 2, rounds), rng)
    own += _spikes(scenario.spikes, own.shape, rng)
    host = _host_state(scenario, experiments, replicates * rounds * 2, rng).reshape(*shape, 2)
    first = rng.choice([-1.0, 1.0], size=shape)  # which side has the round's first block
    ratios = process[..., None] + own[:, :, 0] - own[:, :, 1] + first * (host[..., 0] - host[..., 1])
    return Simulated(ratios, float(np.log1p(effect)), process)


def _host_state(scenario: Scenario, experiments: int, blocks: int, rng: np.random.Generator) -> Floats:
    # Replicates follow without a pause: the harder case, the host's mood spans them.
    walk = scenario.walk * rng.standard_normal((experiments, blocks)).cumsum(axis=1)
    return scenario.drift * np.arange(blocks) + walk + scenario.host * _ar1(HOST_PHI, walk.shape, rng)


def _unit_noise(heavy: bool, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    return rng.standard_t(4, shape) / np.sqrt(2.0) if heavy else rng.standard_normal(shape)


def _ar1(phi: float, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return stationary AR(1) series of unit variance along the last axis."""
    innovations = rng.standard_normal(shape)
    innovations[..., 1:] *= np.sqrt(1 - phi**2)
    series: Floats = signal.lfilter([1.0], [1.0, -phi], innovations, axis=-1)
    return series


def _spikes(probability: float, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    return np.log(rng.uniform(1.3, 5.0, shape)) * (rng.random(shape) < probability)


def conclude(log_ratios: Floats, design: Design) -> Outcome:
    """Run one experiment, ``log_ratios`` of shape (replicates, rounds), to the stop rule's end."""
    for used in range(design.first, design.last + 1):
        estimate = _given(speedup(list(log_ratios[:used, : design.rounds])))
        if estimate.relative_half_width <= TARGET:
            break
    return Outcome(estimate, used)


def coverage_cell(simulated: Simulated, design: Design) -> Cell:
    """Judge all experiments of a scenario under a design; A/A pairs, so ``different`` is a false alarm."""
    outcomes = [conclude(ratios, design) for ratios in simulated.log_ratios]
    verdicts = [speed_verdict(o.estimate, MARGIN).verdict for o in outcomes]
    host = np.array([_covers(o.estimate, simulated.host) for o in outcomes])
    own = [
        # An estimate of scope ``process`` speaks of the processes drawn and is held to that.
        _covers(o.estimate, simulated.host if o.estimate.scope == "host" else float(truth[: o.used].mean()))
        for o, truth in zip(outcomes, simulated.process, strict=True)
    ]
    return Cell(
        coverage=float(np.mean(own)),
        host_coverage=float(host.mean()),
        half_width=float(np.median([o.estimate.relative_half_width for o in outcomes])),
        different=_share(verdicts, Speed.FASTER) + _share(verdicts, Speed.SLOWER),
        same=_share(verdicts, Speed.SAME),
        replicates=float(np.mean([o.used for o in outcomes])),
    )


def _covers(estimate: Estimate, log_truth: float) -> bool:
    return bool(estimate.low <= np.exp(log_truth) <= estimate.high)


def _share(verdicts: Sequence[Speed], verdict: Speed) -> float:
    return sum(v is verdict for v in verdicts) / len(verdicts)


def _given(estimate: Estimate | NotEnough) -> Estimate:
    if isinstance(estimate, NotEnough):
        raise RuntimeError(f"the simulated design is too small: {estimate.reason}")
    return estimate


def _generator(seed: int, *cell: object) -> np.random.Generator:
    """Return the generator of one cell, so that a cell's figures do not depend on what ran before it."""
    return np.random.default_rng([seed, zlib.crc32(repr(cell).encode())])


def coverage_tables(experiments: int, seed: int) -> str:
    """Return one table a design: coverage, width and false alarms of A/A pairs in every scenario."""
    rows: dict[Design, list[list[str]]] = {design: [] for design in DESIGNS}
    for scenario in SCENARIOS:
        many = simulate(scenario, 10, PRODUCT.rounds, experiments, _generator(seed, "coverage", scenario.name))
        one = simulate(scenario, 1, 40, experiments, _generator(seed, "one process", scenario.name))
        for design in DESIGNS:
            cell = coverage_cell(one if design is ONE_PROCESS else many, design)
            rows[design].append(_coverage_row(scenario, design, cell))
    note = (
        "One set of processes tells its own ratio, offsets included; the first column holds the interval to "
        "that. The last column shows how seldom it tells the host's: why no verdict under 5 % rests on it."
    )
    tables = [f"**A/A pairs, {d.name}**\n\n{_table(_coverage_header(d), rows[d])}" for d in DESIGNS]
    return "\n\n".join([*tables, note])


def _coverage_header(design: Design) -> list[str]:
    last = "covers the host's ratio" if design is ONE_PROCESS else "replicates, mean"
    covers = "covers these processes' ratio" if design is ONE_PROCESS else "coverage"
    return ["scenario", covers, "half-width, median", "called different", "called same", last]


def _coverage_row(scenario: Scenario, design: Design, cell: Cell) -> list[str]:
    last = _percent(cell.host_coverage) if design is ONE_PROCESS else f"{cell.replicates:.1f}"
    shares = [_percent(cell.different, 2), _percent(cell.same)]
    return [scenario.name, _percent(cell.coverage), f"±{_percent(cell.half_width, 2)}", *shares, last]


def power_table(experiments: int, seed: int) -> str:
    """Return how often true effects are found by the product's rule; all true effects make it faster."""
    rows = []
    for scenario in (QUIET, EVERYTHING):
        for effect, margin in ((0.02, MARGIN), (0.02, 0.005), (0.05, MARGIN), (0.2, MARGIN)):
            rng = _generator(seed, "power", scenario.name, effect)
            simulated = simulate(scenario, PRODUCT.last, PRODUCT.rounds, experiments, rng, effect)
            outcomes = (conclude(ratios, PRODUCT) for ratios in simulated.log_ratios)
            verdicts = [speed_verdict(o.estimate, margin).verdict for o in outcomes]
            shares = [_percent(_share(verdicts, v), 2) for v in (Speed.FASTER, Speed.SLOWER)]
            shares += [_percent(_share(verdicts, v)) for v in (Speed.SAME, Speed.INCONCLUSIVE)]
            rows.append([scenario.name, _percent(effect, 0), _percent(margin), *shares])
    header = [
        "scenario",
        "true effect",
        "margin",
        "right direction",
        "wrong direction",
        "same",
        "inconclusive",
    ]
    note = (
        "A true effect of exactly the margin is called in about 2.5 % of experiments by construction: the "
        "interval must lie beyond the truth. The same effect is seen against a smaller margin."
    )
    return f"**Power of the product's rule**\n\n{_table(header, rows)}\n\n{note}"


Method = Callable[[Floats, np.random.Generator], tuple[float, float]]


def _ours(ratios: Floats, _rng: np.random.Generator) -> tuple[float, float]:
    estimate = _given(speedup(list(ratios)))
    return float(np.log(estimate.low)), float(np.log(estimate.high))


def _hierarchical_bootstrap(ratios: Floats, rng: np.random.Generator) -> tuple[float, float]:
    replicates, rounds = ratios.shape
    chosen = rng.integers(replicates, size=(RESAMPLES, replicates, 1))
    means = np.median(ratios[chosen, rng.integers(rounds, size=(RESAMPLES, replicates, rounds))], axis=2).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _pooled_bootstrap(ratios: Floats, rng: np.random.Generator) -> tuple[float, float]:
    pooled = ratios.ravel()
    medians = np.median(pooled[rng.integers(pooled.size, size=(RESAMPLES, pooled.size))], axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return float(low), float(high)


def _pooled_t(ratios: Floats, _rng: np.random.Generator) -> tuple[float, float]:
    half = stats.t.ppf(0.975, ratios.size - 1) * ratios.std(ddof=1) / np.sqrt(ratios.size)
    return float(ratios.mean() - half), float(ratios.mean() + half)


METHODS: dict[str, Method] = {
    "Student's t over replicate medians (ours)": _ours,
    "percentile bootstrap: replicates, then rounds": _hierarchical_bootstrap,
    "percentile bootstrap of all rounds, pooled": _pooled_bootstrap,
    "Student's t over all rounds, pooled": _pooled_t,
}


def methods_table(experiments: int, seed: int) -> str:
    """Return the coverage of four intervals, side by side on the same experiments."""
    counts = (3, 5, 10)
    rows = [[name] for name in METHODS]
    for replicates in counts:
        rng = _generator(seed, "methods", replicates)
        simulated = simulate(OFFSETS, replicates, 8, min(experiments, MAX_BOOTSTRAPPED), rng)
        for row, method in zip(rows, METHODS.values(), strict=True):
            bounds = np.array([method(ratios, rng) for ratios in simulated.log_ratios])
            covered = (bounds[:, 0] <= simulated.host) & (simulated.host <= bounds[:, 1])
            half_width = float(np.median(bounds[:, 1] - bounds[:, 0])) / 2
            row.append(f"{_percent(float(covered.mean()))} (±{_percent(half_width, 2)})")
    header = ["95 % interval", *(f"{count} replicates × 8 rounds" for count in counts)]
    title = f"**Coverage by method, {OFFSETS.name}, fixed replicates (median half-width)**"
    return f"{title}\n\n{_table(header, rows)}"


def percentile_table(experiments: int, seed: int) -> str:
    """Return the coverage of ``percentile``: five replicates of log-normal samples, offsets as in OFFSETS."""
    rows = []
    for spread in (0.05, 0.3):
        for q, samples in ((0.5, 300), (0.95, 200), (0.95, 300), (0.99, 1000)):
            rng = _generator(seed, "percentile", spread, q, samples)
            truth = spread * float(stats.norm.ppf(q))
            estimates = [_percentile_of_one(spread, q, samples, rng) for _ in range(experiments)]
            covered = float(np.mean([_covers(e, truth) for e in estimates]))
            bias = float(np.mean([np.log(e.value) for e in estimates])) - truth
            half_width = float(np.median([e.relative_half_width for e in estimates]))
            cells = [_percent(covered), f"±{_percent(half_width, 2)}", f"{100 * bias:+.2f} %"]
            rows.append([f"p{100 * q:g}", f"5 × {samples}", _percent(spread, 0), *cells])
    header = ["percentile", "samples", "sd of log samples", "coverage", "half-width, median", "bias"]
    return f"**Percentiles, {OFFSETS.name}**\n\n{_table(header, rows)}"


def _percentile_of_one(spread: float, q: float, samples: int, rng: np.random.Generator) -> Estimate:
    offsets = OFFSETS.offset * rng.standard_normal((5, 1))
    return _given(percentile(list(np.exp(offsets + spread * rng.standard_normal((5, samples)))), q))


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = [":--", *("--:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def report(experiments: int, seed: int) -> str:
    """Return all tables as markdown, under a line that says how they were made."""
    error = 100 * np.sqrt(0.95 * 0.05 / experiments)
    bootstrapped = min(experiments, MAX_BOOTSTRAPPED)
    coarse = 100 * np.sqrt(0.95 * 0.05 / bootstrapped)
    intro = (
        f"{experiments} simulated experiments a cell ({bootstrapped} in the comparison of methods), "
        f"seed {seed}; the Monte-Carlo standard error of a share near 95 % is {error:.2f} ({coarse:.2f}) "
        f"points. Verdicts at a margin of {_percent(MARGIN, 0)}. An offset of x % is its standard deviation "
        "on each side, so the ratio's is 1.4 times that. The rule stops when the half-width is at most "
        f"{_percent(TARGET, 0)}."
    )
    return "\n\n".join(
        [intro]
        + [table(experiments, seed) for table in (coverage_tables, power_table, methods_table, percentile_table)]
    )


def replace_between(document: str, text: str) -> str:
    """Return the document with ``text`` between the markers; ValueError where they are not there in order."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"needs a line {BEGIN} and after it a line {END}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, and write them into a markdown file on demand; 2 where that file has no markers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=4000, help="simulated experiments a cell")
    parser.add_argument("--seed", type=int, default=20240229)
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the text between the markers in FILE")
    options = parser.parse_args(argv)
    if options.write is not None:
        try:
            # Before the minutes of simulation, not after.
            replace_between(options.write.read_text(encoding="utf-8"), "")
        except (OSError, ValueError) as error:
            print(f"{options.write}: {error}", file=sys.stderr)
            return 2
    text = report(options.experiments, options.seed)
    print(text)
    if options.write is not None:
        document = options.write.read_text(encoding="utf-8")
        options.write.write_text(replace_between(document, text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
