from __future__ import annotations

import pytest

from harness.backends.profiles import (
    Run,
    Watched,
    by_count,
    by_time,
    family,
    outside_share,
    sandwich,
    timed_execution,
    wider,
)
from harness.schema import Execution, OperatorUse, Unmeasured


def test_shares_are_of_medians_so_that_one_disturbed_call_changes_nothing():
    calls = [[Run("Conv", "int8", "compute", 3e-3), Run("Cast", "float32", "conversion", 1e-3)] for _ in range(5)]
    calls[2][1] = Run("Cast", "float32", "conversion", 9.0)
    assert [(use.name, use.share, use.count) for use in by_time(calls)] == [("Conv", 0.75, 1.0), ("Cast", 0.25, 1.0)]


def test_runs_of_one_operator_in_one_format_are_one_row():
    conv, other = Run("Conv", "int8", "compute", 1e-3), Run("Conv", "float32", "compute", 2e-3)
    rows = {(use.format, use.share, use.count) for use in by_time([[conv, conv, other]])}
    assert rows == {("int8", 0.5, 2.0), ("float32", 0.5, 1.0)}


def test_shares_by_count_sum_to_one():
    rows = by_count([[Run("a", "", "other")] * 3 + [Run("b", "", "other")]])
    assert [(use.name, use.share) for use in rows] == [("a", 0.75), ("b", 0.25)]


def test_what_no_operator_accounts_for_is_outside():
    calls = [[Run("Conv", "float32", "compute", 0.6)]]
    assert outside_share(Watched(calls, plain_s=[1.0, 1.0, 5.0], watched_s=[2.0])) == pytest.approx(0.4)


def test_operators_that_seem_longer_than_a_plain_call_do_not_mean_that_nothing_is_outside():
    told = outside_share(Watched([[Run("Conv", "", "compute", 1.1)]], [1.0], [1.2]))
    assert told == Unmeasured("under the profiler the operators alone took longer than a plain call")


def test_a_profiler_that_slows_the_calls_is_told():
    seen = Watched([[Run("Conv", "float32", "compute", 0.6)]] * 2, plain_s=[1.0], watched_s=[1.5, 1.5])
    told = timed_execution("profile", seen)
    assert isinstance(told, Execution)
    assert told.source == "profile (watched calls took 1.5 times as long as plain ones)"
    assert (told.basis, told.calls) == ("time", 2)


def test_operators_too_short_for_the_clock_are_counted():
    told = timed_execution("profile", Watched([[Run("Add", "float32", "other")]], [1.0], [1.0]))
    assert isinstance(told, Execution)
    assert told.basis == "count"
    assert isinstance(told.outside_share, Unmeasured)


def test_a_profile_without_operators_is_no_execution():
    told = timed_execution("profile", Watched([[], []], [1.0], [1.0]))
    assert told == Unmeasured("profile shows no operators")


def _use(name, number_format, count, kind="compute"):
    return OperatorUse(name, number_format, kind, 0.1, count)


def test_what_ran_in_a_wider_format_than_the_rest_is_said():
    rows = [_use("QLinearConv", "int8", 18), _use("Conv", "float32", 3), _use("Add", "float32", 9, "other")]
    assert wider(rows) == ("3 of 21 convolutions ran in float32",)


def test_one_format_for_all_is_no_fallback():
    assert wider([_use("Conv", "float32", 3), _use("Gemm", "float32", 1)]) == ()


def test_floating_point_beside_packed_weights_is_meant():
    assert wider([_use("MatMulNBits", "int4", 4), _use("MatMul", "float32", 2)]) == ()


def test_the_same_is_not_said_twice():
    runs = [Run("Conv", "bfloat16", "compute", 1e-3), Run("Conv", "float32", "compute", 1e-3)]
    asked = "bfloat16 asked: 1 of 2 convolutions ran in float32"
    told = timed_execution("profile", Watched([runs], [1.0], [1.0]), [asked])
    assert isinstance(told, Execution)
    assert told.fallbacks == (asked,)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("aten::mkldnn_convolution", "convolutions"),
        ("QLinearConv", "convolutions"),
        ("aten::addmm", "matrix products"),
        ("FullyConnected", "matrix products"),
        ("MultiHeadAttention", "attention blocks"),
        ("DynamicQuantizeLSTM", "recurrent layers"),
    ],
)
def test_a_family_has_the_same_words_in_every_runtime(name, words):
    assert family(name) == words


def test_plain_calls_stand_before_and_after_the_watched_ones(monkeypatch):
    monkeypatch.setattr("harness.backends.profiles.PAUSE_S", 0.0)
    order = []
    plain_s, watched_s = sandwich(lambda _: order.append("p"), lambda _: order.append("w"), [()], 3)
    assert "".join(order) == "pp" + "pp" + "ww" + "www" + "pp" + "pp"  # two untimed calls begin each part
    assert (len(plain_s), len(watched_s)) == (4, 3)
