"""The answer in sentences."""

from __future__ import annotations

import pytest

from harness.report.sentences import answer
from tests.report.rows_by_hand import baseline, ended, frame, row, technique, unjudged, variant


def test_the_fastest_variant_with_its_quality_kept_wins() -> None:
    said = answer(frame(baseline(), variant("a", 2.0), variant("b", 3.0, inference_over_floor_bytes=12_000_000)))
    assert said.subject == "b"
    assert said.verdict == (
        "3.00× [2.85, 3.15] faster than torch, accuracy kept (+0.0 pt, margin 1 pt), 40 % less memory over the floor."
    )
    assert said.notes == ()


def test_a_small_difference_in_memory_is_no_difference() -> None:
    assert "about the same memory" in answer(frame(baseline(), variant("a", 2.0))).verdict
    more = variant("a", 2.0, inference_over_floor_bytes=30_000_000)
    assert "50 % more memory over the floor" in answer(frame(baseline(), more)).verdict
    unknown = variant("a", 2.0, inference_over_floor_bytes=None)
    assert "memory" not in answer(frame(baseline(), unknown)).verdict


def test_variants_whose_intervals_overlap_are_not_told_apart() -> None:
    said = answer(frame(baseline(), variant("a", 3.0), variant("b", 2.9), variant("c", 1.5)))
    assert said.notes == ("Not told apart from b (2.90× [2.75, 3.04]): the intervals overlap.",)


@pytest.mark.parametrize(
    ("quality", "known", "why"),
    [
        (
            "inconclusive",
            {"quality_change": -0.006, "quality_n_needed": 1982.0},
            "since its accuracy is inconclusive (−0.6 pt, margin 1 pt; about 1982 examples would decide, "
            "400 were used)",
        ),
        (
            "inconclusive",
            {"quality_change": -0.01},
            "since its accuracy is inconclusive (−1.0 pt, margin 1 pt; no number of examples near 400 would decide)",
        ),
        ("lost", {"quality_change": -0.05}, "since its accuracy is lost (−5.0 pt, margin 1 pt)"),
        (None, {"missing": {"quality": "it crashed"}}, "its accuracy was not judged (it crashed)"),
    ],
)
def test_a_faster_one_that_was_passed_over_is_named_with_the_reason(
    quality: str | None, known: dict[str, object], why: str
) -> None:
    said = answer(frame(baseline(), variant("a", 2.0), variant("b", 4.0, kept=quality, **known)))
    assert said.subject == "a"
    assert said.notes == (f"Passed over: b, 4.00× [3.80, 4.20], {why}.",)


def test_many_passed_over_are_counted() -> None:
    lost = [variant(f"v{n}", 4.0 + n, kept="lost", quality_change=-0.1) for n in range(5)]
    said = answer(frame(baseline(), variant("a", 2.0), *lost))
    assert said.notes[-1] == "So were 2 more."
    assert said.notes[0].startswith("Passed over: v4, 8.00×")


def test_slower_passed_over_ones_are_not_mentioned() -> None:
    assert answer(frame(baseline(), variant("a", 3.0), variant("b", 2.0, kept="lost"))).notes == ()


def test_the_engine_s_share_is_told_from_the_technique_s() -> None:
    plain = variant("ort", 2.5, role="plain", passes="")
    said = answer(frame(baseline(), plain, variant("a", 5.0, **technique(2.1))))
    assert said.notes == (
        "The engine alone (ort) gives 2.50×; against that engine, compared call by call, the technique gives 2.10×.",
    )


def test_a_technique_on_the_baseline_s_own_engine_has_no_engine_share() -> None:
    assert answer(frame(baseline(), variant("a", 5.0, backend="torch", **technique(5.0)))).notes == ()


def test_nothing_proven_is_said_plainly_with_what_came_close() -> None:
    slow = answer(frame(baseline(), variant("a", 0.5, "slower")))
    assert slow.subject is None
    assert str(slow) == "Nothing is proven faster than torch with its accuracy kept."
    lost = answer(frame(baseline(), variant("a", 2.0, kept="lost", quality_change=-0.02)))
    assert str(lost).endswith("Passed over: a, 2.00× [1.90, 2.10], since its accuracy is lost (−2.0 pt, margin 1 pt).")
    unclear = answer(frame(baseline(), variant("a", 1.01, "inconclusive"), variant("b", 1.02, "inconclusive")))
    assert unclear.notes == ("Whether b (1.02× [0.969, 1.07]) and a (1.01× [0.959, 1.06]) are faster is inconclusive.",)


def test_without_quality_only_speed_is_judged_and_the_sentence_says_so() -> None:
    said = answer(frame(unjudged(baseline()), unjudged(variant("a", 2.0))))
    assert said.subject == "a"
    assert said.verdict.endswith("Quality was not measured, so only speed is judged.")
    assert "kept" not in said.verdict
    none = answer(frame(unjudged(baseline()), unjudged(variant("a", 0.9, "slower"))))
    assert none.verdict == "Nothing is proven faster than torch. Quality was not measured, so only speed is judged."


def test_the_metric_has_its_own_name_and_direction() -> None:
    known = {"quality_metric": "perplexity", "quality_higher_is_better": False, "quality": 12.0, "quality_margin": 0.5}
    said = answer(frame(baseline(**known), variant("a", 2.0, **{**known, "quality_change": -0.123})))
    assert "perplexity kept (0.123 worse, margin 0.5)" in said.verdict


def test_what_ended_early_and_what_has_no_record_is_counted() -> None:
    rows = frame(baseline(), variant("a", 2.0), ended("b", "crashed", "SIGSEGV"), ended("c", "unsupported", "no"))
    said = answer(rows, ["torch", "a", "b", "c", "d"])
    assert said.notes == (
        "2 of 4 trials were not measured: b (crashed) and c (unsupported).",
        "1 trial has no record, since the run was cut short: d.",
    )


def test_a_missing_baseline_leaves_nothing_to_compare() -> None:
    failed = answer(
        frame({**ended("torch", "crashed", "SIGSEGV"), "role": "baseline"}, ended("a", "skipped", "no baseline"))
    )
    assert failed.verdict == "The baseline torch was not measured (crashed), so nothing can be compared."
    assert answer(frame(ended("a", "failed", "x"))).verdict.startswith("The baseline has no record")
    assert answer(frame(), ["torch", "a"]).notes == (
        "2 trials have no record, since the run was cut short: torch and a.",
    )


def test_a_baseline_alone_is_said() -> None:
    assert answer(frame(baseline())).verdict == "Nothing was measured beside the baseline torch."


def test_a_row_with_nothing_but_a_name_breaks_no_sentence() -> None:
    assert answer(frame(baseline(), row("a", quality=None))).subject is None


def test_what_was_timed_alone_is_told() -> None:
    alone = {"alone_p50_s": 0.0005, "alone_speedup": 2.1, "alone_speedup_low": 2.0, "alone_speedup_high": 2.2}
    said = answer(frame({**baseline(), "alone_p50_s": 0.00105}, variant("a", 2.0, **alone)))
    assert said.notes == ("Timed alone, the median call took 1.05 ms for torch, 500 µs for it: 2.10× [2.00, 2.20].",)


def test_agreement_on_synthetic_inputs_is_not_sold_as_accuracy() -> None:
    known = {"quality_metric": "cosine-agreement", "quality_data": "synthetic"}
    said = answer(frame({**baseline(), **known}, variant("a", 2.0, **known)))
    assert said.notes == (
        "Quality here is cosine-agreement with the unoptimized model on synthetic inputs: whether the function is "
        "still the same, not whether it is right.",
    )
