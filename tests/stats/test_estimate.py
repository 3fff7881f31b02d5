from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stats.estimate import (
    Estimate,
    Floats,
    NotEnough,
    log_ratios,
    percentile,
    prefer_clean,
    speedup,
    stretched,
    throughput,
)

# Student's t at 1 − 0.7 × 0.05, two-sided, for 2 and 3 degrees of freedom.
T_2, T_3 = 5.203877, 3.670003

LAW = settings(max_examples=60, deadline=None, derandomize=True)

ratio = st.floats(-0.5, 0.5, allow_subnormal=False)
replicate = st.lists(ratio, min_size=1, max_size=9).map(np.array)
replicates = st.lists(replicate, min_size=3, max_size=6)
one_process = st.lists(ratio, min_size=16, max_size=60).map(lambda rounds: [np.array(rounds)])
experiments = st.one_of(replicates, one_process)
latency = st.floats(1e-4, 1e-1)
quantiles = st.sampled_from((0.05, 0.25, 0.5, 0.9, 0.95))


@st.composite
def latencies(draw: st.DrawFn) -> list[Floats]:
    """Return replicates long enough for all of ``quantiles``; values are left to the seed, for speed."""
    sizes = draw(st.lists(st.integers(200, 250), min_size=3, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return [1e-3 * rng.lognormal(sigma=draw(st.floats(0, 2)), size=size) for size in sizes]


def given_estimate(result: Estimate | NotEnough) -> Estimate:
    assert isinstance(result, Estimate), result
    return result


def reason(result: Estimate | NotEnough) -> str:
    assert isinstance(result, NotEnough), result
    return result.reason


def bounds(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.low, estimate.value, estimate.high


def test_three_replicates_give_students_t_over_their_medians() -> None:
    # Medians 0.01, 0.02, 0.03: mean 0.02, standard error 0.01/√3, t = T_2.
    rounds = [np.array([0.0, 0.01, 9.0]), np.array([0.02]), np.array([0.03, 0.03])]
    estimate = given_estimate(speedup(rounds))
    half = T_2 * 0.01 / math.sqrt(3)
    assert bounds(estimate) == pytest.approx([math.exp(0.02 - half), math.exp(0.02), math.exp(0.02 + half)])
    assert (estimate.units, estimate.n, estimate.scope) == (3, 6, "host")
    assert estimate.relative_half_width == pytest.approx(half)


@LAW
@given(experiments)
def test_the_interval_contains_the_value(rounds: list[Floats]) -> None:
    estimate = given_estimate(speedup(rounds))
    assert estimate.low <= estimate.value <= estimate.high


@LAW
@given(experiments)
def test_swapping_the_sides_inverts_the_estimate(rounds: list[Floats]) -> None:
    estimate = given_estimate(speedup(rounds))
    swapped = given_estimate(speedup([-r for r in rounds]))
    assert bounds(swapped) == pytest.approx([1 / estimate.high, 1 / estimate.value, 1 / estimate.low])


@LAW
@given(experiments, st.floats(-2, 2))
def test_a_constant_log_offset_shifts_the_estimate_and_not_its_width(rounds: list[Floats], offset: float) -> None:
    estimate = given_estimate(speedup(rounds))
    shifted = given_estimate(speedup([r + offset for r in rounds]))
    assert bounds(shifted) == pytest.approx([b * math.exp(offset) for b in bounds(estimate)])
    assert shifted.relative_half_width == pytest.approx(estimate.relative_half_width, abs=1e-9)


@LAW
@given(st.lists(st.lists(st.tuples(latency, latency), min_size=1, max_size=9), min_size=3, max_size=5))
def test_scaling_all_latencies_changes_nothing(blocks: list[list[tuple[float, float]]]) -> None:
    def estimate(factor: float) -> Estimate:
        sides = [[{i: factor * pair[side] for i, pair in enumerate(b)} for side in (0, 1)] for b in blocks]
        return given_estimate(speedup([log_ratios(baseline, variant) for baseline, variant in sides]))

    assert bounds(estimate(1000.0)) == pytest.approx(bounds(estimate(1.0)))


@LAW
@given(replicates.flatmap(lambda rounds: st.tuples(st.just(rounds), st.permutations(rounds))))
def test_the_order_of_the_replicates_does_not_matter(orders: tuple[list[Floats], list[Floats]]) -> None:
    one, other = (given_estimate(speedup(rounds)) for rounds in orders)
    assert bounds(one) == pytest.approx(bounds(other))


@LAW
@given(experiments, st.floats(0.5, 0.98), st.floats(0.001, 0.019))
def test_more_confidence_widens_the_interval(rounds: list[Floats], confidence: float, more: float) -> None:
    narrow = given_estimate(speedup(rounds, confidence))
    wide = given_estimate(speedup(rounds, confidence + more))
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high
    assert (narrow.confidence, wide.confidence) == (confidence, confidence + more)


def test_a_spike_in_one_round_of_eight_does_not_move_the_estimate() -> None:
    rounds = [np.zeros(8) for _ in range(5)]
    rounds[2][3] = math.log(5)
    assert bounds(given_estimate(speedup(rounds))) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("rounds", "has"),
    [
        ([], "has 0 and 0"),
        ([np.zeros(15)], "has 1 and 15"),
        ([np.zeros(8), np.zeros(7)], "has 2 and 15"),
        ([np.zeros(8), np.zeros(7), np.array([])], "has 2 and 15"),
    ],
)
def test_too_few_rounds_give_no_estimate_but_say_what_it_takes(rounds: Sequence[Floats], has: str) -> None:
    assert reason(speedup(rounds)) == f"needs 3 replicates or 16 rounds, {has}"


@pytest.mark.parametrize(
    ("sizes", "units"), [([16], 4), ([40], 5), ([400], 5), ([8, 8], 4), ([20, 20], 4), ([39, 1], 6)]
)
def test_fewer_than_three_replicates_speak_for_these_processes_only(sizes: list[int], units: int) -> None:
    estimate = given_estimate(speedup([np.linspace(-0.01, 0.01, size) for size in sizes]))
    assert estimate.scope == "process"
    assert (estimate.units, estimate.n) == (units, sum(sizes))


def test_a_batch_never_spans_two_processes() -> None:
    # Each batch's median is one process's own ratio; one across the border would show a third value.
    estimate = given_estimate(speedup([np.full(20, 0.0), np.full(20, 0.1)]))
    assert estimate.value == pytest.approx(math.exp(0.05))
    assert estimate.relative_half_width == pytest.approx(T_3 * np.std([0.0, 0.1] * 2, ddof=1) / 4**0.5)


def test_an_unbounded_interval_has_an_infinite_half_width() -> None:
    assert Estimate(1.0, 0.0, 2.0, 3, 3, "host").relative_half_width == math.inf
    assert Estimate(1.0, 0.5, math.inf, 3, 3, "host").relative_half_width == math.inf


@LAW
@given(latencies(), quantiles, st.floats(1e-3, 1e3))
def test_a_percentile_lies_in_its_interval_and_scales_with_the_samples(
    samples: list[Floats], q: float, factor: float
) -> None:
    estimate = given_estimate(percentile(samples, q))
    assert estimate.low <= estimate.value <= estimate.high
    scaled = given_estimate(percentile([factor * s for s in samples], q))
    assert bounds(scaled) == pytest.approx([factor * b for b in bounds(estimate)])


@LAW
@given(latencies(), quantiles, quantiles)
def test_a_higher_percentile_is_no_smaller(samples: list[Floats], one: float, other: float) -> None:
    low, high = (given_estimate(percentile(samples, q)).value for q in sorted((one, other)))
    assert low <= high * (1 + 1e-12)


@pytest.mark.parametrize(("q", "needed"), [(0.9, 100), (0.95, 200), (0.99, 1000), (0.999, 10000), (0.05, 200)])
def test_a_tail_needs_ten_samples_beyond_it_in_each_replicate(q: float, needed: int) -> None:
    rng = np.random.default_rng(1)
    enough = [rng.lognormal(size=needed) for _ in range(3)]
    assert given_estimate(percentile(enough, q)).scope == "host"
    short = [*enough[:2], enough[2][:-1]]
    assert reason(percentile(short, q)) == f"p{100 * q:g} needs {needed} samples a replicate, has {needed - 1}"


def test_a_p99_of_few_samples_is_refused() -> None:
    assert reason(percentile([np.ones(50)] * 5, 0.99)) == "p99 needs 1000 samples a replicate, has 50"


def test_a_median_is_given_from_few_samples() -> None:
    estimate = given_estimate(percentile([np.array([1e-3])] * 3, 0.5))
    assert estimate.value == pytest.approx(1e-3)


def test_one_process_tells_a_tail_when_its_batches_can_be_long_enough() -> None:
    samples = np.random.default_rng(2).lognormal(size=2000)
    assert reason(percentile([samples[:799]], 0.95)) == "p95 needs 3 replicates or 800 samples, has 1 and 799"
    units = [given_estimate(percentile([samples[:n]], 0.95)).units for n in (800, 1200, 2000)]
    assert units == [4, 5, 5]


def test_two_processes_of_uneven_length_tell_a_tail() -> None:
    rng = np.random.default_rng(3)
    estimate = given_estimate(percentile([rng.lognormal(size=612), rng.lognormal(size=597)], 0.95))
    assert (estimate.units, estimate.n, estimate.scope) == (5, 1209, "process")


@pytest.mark.parametrize("q", [-0.1, 0.0, 1.0, 95.0])
def test_a_percentile_outside_zero_to_one_is_an_error(q: float) -> None:
    with pytest.raises(ValueError, match="q must lie in"):
        percentile([np.ones(10)] * 3, q)


def test_only_rounds_that_both_sides_have_are_compared_in_order() -> None:
    ratios = log_ratios({3: 3.0, 1: 1.0, 2: 8.0}, {1: 2.0, 3: 3.0, 4: 5.0})
    assert ratios == pytest.approx([math.log(0.5), 0.0])
    assert len(log_ratios({1: 1.0}, {2: 1.0})) == 0


def test_clean_rounds_are_preferred_when_every_replicate_has_three() -> None:
    everything = [np.zeros(8), np.zeros(8)]
    clean = [np.zeros(3), np.zeros(7)]
    assert prefer_clean(clean, everything) == (clean, True)
    assert prefer_clean([np.zeros(2), np.zeros(8)], everything) == (everything, False)
    assert prefer_clean([], everything) == (everything, False)


def test_throughput_counts_examples_over_all_the_time_taken() -> None:
    samples = [np.array([0.1, 0.3]), np.array([0.2, 0.2]), np.array([0.4])]
    # 4 × 2 / 0.4 s = 20 a second twice, and 4 × 1 / 0.4 s = 10 once: the geometric mean.
    estimate = given_estimate(throughput(samples, batch_size=4))
    assert estimate.value == pytest.approx((20 * 20 * 10) ** (1 / 3))
    assert isinstance(throughput(samples[:2], batch_size=4), NotEnough)


def experiments_with_offsets(count: int, seed: int) -> Floats:
    """Return log ratios of A/A pairs, shape (count, 5, 8): offsets of sd 1 %, round noise of sd 0.7 %."""
    rng = np.random.default_rng(seed)
    return 0.01 * rng.standard_normal((count, 5, 1)) + 0.007 * rng.standard_normal((count, 5, 8))


def test_the_interval_covers_the_truth_in_about_95_of_100_experiments() -> None:
    # Seeded; 400 experiments have a standard error of 1.1 points.
    estimates = [given_estimate(speedup(list(e))) for e in experiments_with_offsets(400, seed=20240229)]
    assert 0.92 <= np.mean([e.low <= 1 <= e.high for e in estimates]) <= 0.98


def test_rounds_of_one_process_do_not_tell_what_another_start_would_show() -> None:
    many = np.random.default_rng(7).standard_normal((300, 41))
    rounds = 0.01 * many[:, :1] + 0.007 * many[:, 1:]
    estimates = [given_estimate(speedup([r])) for r in rounds]
    assert all(e.scope == "process" for e in estimates)
    assert np.mean([e.low <= 1 <= e.high for e in estimates]) < 0.5


@given(st.floats(0.0, 0.9), st.floats(0.5, 2.0))
def test_a_stretched_interval_holds_every_ratio_that_interruptions_could_have_bent(share: float, truth: float) -> None:
    # The baseline's calls are as long as half a slice of ours and each is interrupted once; the variant's never are.
    ours, theirs = 1 - share, share
    seen = truth * (ours / 2 + theirs) / (ours / 2)
    estimate = stretched(Estimate(seen, seen, seen, 3, 60, "host"), share)
    assert estimate.low <= truth * (1 + 1e-9)
    assert estimate.high >= seen


def test_a_share_of_everything_is_no_share() -> None:
    with pytest.raises(ValueError, match="share"):
        stretched(Estimate(1.0, 1.0, 1.0, 3, 60, "host"), 1.0)
