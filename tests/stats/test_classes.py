from __future__ import annotations

import numpy as np
import pytest

from harness.stats.classes import ClassChange, prediction_flips, worst_class


def test_flips_count_answers_that_changed_wrong_to_wrong_included() -> None:
    assert prediction_flips(np.array([1, 2, 3, 4]), np.array([1, 5, 3, 0])) == 0.5
    assert prediction_flips(np.array([1]), np.array([1])) == 0.0


def test_different_examples_are_an_error() -> None:
    with pytest.raises(ValueError, match="same examples"):
        prediction_flips(np.array([1, 2]), np.array([1]))


def test_the_worst_class_is_the_one_with_the_largest_drop_in_recall() -> None:
    targets = np.repeat([0, 7], [40, 20])
    baseline = targets.copy()
    variant = targets.copy()
    variant[:4] = 7  # 4 of 40
    variant[40:43] = 0  # 3 of 20
    assert worst_class(baseline, variant, targets) == ClassChange(7, pytest.approx(-0.15), 20)


def test_a_class_of_few_examples_is_passed_over() -> None:
    targets = np.repeat([0, 1], [30, 19])
    variant = np.zeros(49, dtype=int)
    found = worst_class(targets, variant, targets)
    assert found == ClassChange(0, 0.0, 30)
    assert worst_class(targets[30:], variant[30:], targets[30:]) is None


def test_where_all_classes_gain_the_worst_is_the_one_that_gains_least() -> None:
    targets = np.repeat([0, 1], 20)
    baseline = np.where(np.arange(40) % 20 < 10, targets, 2)
    variant = targets.copy()
    variant[0] = 1
    assert worst_class(baseline, variant, targets) == ClassChange(0, pytest.approx(0.45), 20)
