"""Student's t against scipy, whose own quantile is exact to nine digits alone near the middle."""

import math

import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sweep.verdict.stats import student

some_degrees = st.one_of(st.integers(1, 300).map(float), st.floats(1, 1e6))
probabilities = st.floats(1e-9, 1 - 1e-9).filter(lambda p: abs(p - 0.5) > 0.01)


@given(probabilities, some_degrees)
def test_quantile_is_that_of_scipy(probability: float, degrees: float) -> None:
    expected = scipy.special.stdtrit(degrees, probability)
    assert student.quantile(probability, degrees) == pytest.approx(expected, rel=1e-10, abs=0)


@given(st.floats(-1e4, 1e4), some_degrees)
def test_cdf_is_that_of_scipy(t: float, degrees: float) -> None:
    expected = scipy.special.stdtr(degrees, t)
    assert student.cdf(t, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-250)


@given(st.floats(0.4, 0.6), some_degrees)
def test_quantile_and_cdf_are_inverse_near_the_middle(probability: float, degrees: float) -> None:
    assert student.cdf(student.quantile(probability, degrees), degrees) == pytest.approx(probability, abs=1e-14)


def test_published_table() -> None:
    """Student's table as every textbook has it, two-sided 95 %, and closed forms of one and two degrees."""
    for degrees, value in ((1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (30, 2.042), (120, 1.980)):
        assert student.quantile(0.975, degrees) == pytest.approx(value, abs=5e-4)
    assert student.quantile(0.9, 1) == pytest.approx(math.tan(math.pi * 0.4), rel=1e-14)
    assert student.cdf(1.0, 2) == pytest.approx(0.5 + 1 / (2 * math.sqrt(3)), rel=1e-14)


def test_ends() -> None:
    assert student.quantile(0.5, 3) == 0
    assert student.quantile(0.25, 7) == -student.quantile(0.75, 7)
    assert (student.cdf(0.0, 5), student.cdf(1e200, 5), student.cdf(-math.inf, 5)) == (0.5, 1.0, 0.0)
    for probability, degrees in ((0.0, 5.0), (1.0, 5.0), (0.9, 0.0), (0.9, math.inf), (math.nan, 5.0)):
        with pytest.raises(ValueError, match="no quantile"):
            student.quantile(probability, degrees)
