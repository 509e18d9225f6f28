"""One rule from measurements to a verdict."""

import pytest

from aeflow_utils.metrics.verdicts import (
    CONFIRMED,
    NOT_TESTABLE,
    OPEN,
    PARTLY,
    REFUTED,
    Measurement,
    verdict_of,
)


def measurement(low, high):
    return Measurement("here", (low + high) / 2, low, high, "")


FOR, AGAINST, NEITHER = measurement(1, 2), measurement(-2, -1), measurement(-1, 1)


@pytest.mark.parametrize(
    ("measurements", "word"),
    [
        ([FOR, FOR], CONFIRMED),
        ([FOR, NEITHER], PARTLY),
        ([FOR, AGAINST], PARTLY),
        ([AGAINST, NEITHER], REFUTED),
        ([AGAINST], REFUTED),
        ([NEITHER, NEITHER], OPEN),
        ([], NOT_TESTABLE),
    ],
)
def test_the_rule_from_measurements_to_a_verdict(measurements, word):
    assert verdict_of(measurements) == word


def test_an_interval_that_touches_zero_supports_nothing():
    assert verdict_of([measurement(0, 2)]) == OPEN
    assert verdict_of([measurement(-2, 0)]) == OPEN
