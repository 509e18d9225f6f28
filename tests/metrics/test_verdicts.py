"""One rule from measurements to a verdict."""

import numpy as np
import pytest

from aeflow_utils.metrics.compare import Estimate
from aeflow_utils.metrics.verdicts import (
    MIN_SEEDS,
    NOT_SUPPORTED,
    NOT_TESTABLE,
    PARTLY,
    SAME,
    SUPPORTED,
    UNDECIDED,
    Measurement,
    holm,
    in_family,
    verdict_of,
)


def measurement(value, error, seeds=MIN_SEEDS, margin=1.0):
    return Measurement("here", Estimate(value, error, 1e6, 0.0, seeds - 1), "", margin)


FOR, AGAINST, EQUAL, NEITHER = (measurement(*m) for m in ((4, 1), (-4, 1), (0.2, 0.1), (1, 2)))


@pytest.mark.parametrize(
    ("case", "relation"),
    [
        (measurement(3, 1), "for"),
        (measurement(-3, 1), "against"),
        (measurement(1, 1), "open"),
        (measurement(0.5, 0.1), "same"),  # told from 0, and nearer to it than one point
        (measurement(0.5, 0.1, margin=0), "for"),  # a distance from a level has no such zone
        (measurement(3, 1, seeds=MIN_SEEDS - 1), "open"),
        (measurement(0, 0.1, seeds=1), "open"),
        (measurement(np.nan, 1), "open"),
    ],
)
def test_where_a_measurement_stands(case, relation):
    assert case.relation == relation


@pytest.mark.parametrize(
    ("measurements", "needs_all", "needs_any"),
    [
        ([FOR, FOR], SUPPORTED, SUPPORTED),
        ([FOR, NEITHER], UNDECIDED, PARTLY),
        ([FOR, AGAINST], NOT_SUPPORTED, PARTLY),
        ([FOR, EQUAL], NOT_SUPPORTED, PARTLY),
        ([AGAINST, NEITHER], NOT_SUPPORTED, UNDECIDED),
        ([AGAINST, EQUAL], NOT_SUPPORTED, NOT_SUPPORTED),
        ([EQUAL, EQUAL], SAME, SAME),
        ([EQUAL, NEITHER], NOT_SUPPORTED, UNDECIDED),
        ([NEITHER], UNDECIDED, UNDECIDED),
        ([], NOT_TESTABLE, NOT_TESTABLE),
    ],
)
def test_the_rule_from_measurements_to_a_verdict(measurements, needs_all, needs_any):
    assert verdict_of(measurements, "all of") == needs_all
    assert verdict_of(measurements, "any of") == needs_any


def test_a_claim_says_which_of_its_measurements_it_needs():
    with pytest.raises(ValueError, match="'most of'"):
        verdict_of([FOR], "most of")


def test_holm_by_hand():
    assert holm(np.array([0.04, 0.01, 0.03])).tolist() == [False, True, False]  # .05/3, .05/2
    assert holm(np.array([0.01, 0.02, 0.04])).tolist() == [True, True, True]
    assert holm(np.array([0.2])).tolist() == [False]
    assert holm(np.array([])).tolist() == []


def test_what_stands_alone_may_not_stand_in_a_family():
    alone = measurement(2.2, 1)  # two-sided p of about 0.028
    assert alone.relation == "for"
    (in_two, clear) = in_family([alone, measurement(9, 1)])
    assert (in_two.relation, clear.relation) == ("for", "for")
    in_five = in_family([alone, *[measurement(1, 1)] * 4])[0]
    assert in_five.relation == "open"
