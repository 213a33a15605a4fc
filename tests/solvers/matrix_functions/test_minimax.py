"""The minimax polynomials: published values, alternation, and digits where double precision has none."""

import decimal
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolvent.solvers.matrix_functions.minimax import cubic, evaluate, exchange, image, minimax, taylor, working_digits


@pytest.mark.parametrize("lower", ["1e-12", "1e-6", "0.001", "0.1", "0.75", "0.999999", "0.999999999999"])
def test_closed_form_of_the_cubic_is_what_the_exchange_finds(lower):
    l = Decimal(lower)
    with decimal.localcontext(prec=working_digits(l, Decimal(1), 2)):
        formula, found = cubic(l), exchange(l, 1, 2)
        for a, b in zip(formula.coefficients, found.coefficients, strict=True):
            assert abs(a - b) <= abs(a) * Decimal("1e-12")
        assert abs(formula.error - found.error) <= formula.error * Decimal("1e-20")


def test_error_of_the_cubic_is_the_published_expression():
    """In plain double precision, on an interval where that is enough, and whose upper end is not one."""
    l, u = 0.2, 1.7
    e = np.sqrt((l * l + l * u + u * u) / 3)
    scale = 2 * e**3 + l * l * u + l * u * u
    found = minimax(Decimal(l), Decimal(u), 1)
    wanted = (2 * (l * l + l * u + u * u) / scale, -2 / scale, (2 * e**3 - l * l * u - l * u * u) / scale)
    np.testing.assert_allclose([float(x) for x in (*found.coefficients, found.error)], wanted, rtol=1e-14)


@settings(max_examples=40, deadline=None)
@given(
    exponent=st.floats(-12.0, -1e-6),
    upper=st.floats(1e-3, 1e3),
    degree=st.sampled_from([1, 2, 3, 4, 8]),
    power=st.integers(1, 5),
)
def test_the_error_alternates(exponent, upper, degree, power):
    """q + 2 points at which 1 - f is E with alternating signs: by Chebyshev's theorem there is none better."""
    low, high = Decimal(10.0**exponent) * Decimal(upper), Decimal(upper)
    best = minimax(low, high, degree, power)
    assert list(best.points) == sorted(best.points)
    assert len(best.points) == degree + 2
    with decimal.localcontext(prec=working_digits(low, high, degree + 1)):
        for i, x in enumerate(best.points):
            share = (1 - evaluate(best.coefficients, x, power)) / best.error * (-1) ** i
            assert abs(share - 1) < Decimal("1e-15")


@settings(max_examples=25, deadline=None)
@given(exponent=st.floats(-12.0, -0.01), degree=st.sampled_from([1, 2, 3, 4, 8]))
def test_nothing_between_the_extrema_is_farther_from_one(exponent, degree):
    low = Decimal(10.0**exponent)
    best = minimax(low, Decimal(1), degree)
    grid = {*np.geomspace(float(low), 1, 40).tolist(), *np.linspace(float(low), 1, 40).tolist()}
    with decimal.localcontext(prec=60):
        farthest = max(abs(1 - evaluate(best.coefficients, max(Decimal(x), low))) for x in grid)
        assert farthest <= best.error * (1 + Decimal("1e-15"))


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 8])
def test_the_lowest_value_keeps_its_digits_on_the_longest_intervals(degree):
    """1 - E is proportional to the lower end as that goes to zero."""
    slopes = [float((1 - minimax(Decimal(l), Decimal(1), degree).error) / Decimal(l)) for l in ("1e-12", "1e-30")]
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-10)
    assert slopes[1] == pytest.approx(
        {1: 5.196152, 2: 8.514302, 3: 11.86057, 4: 15.21725, 8: 28.67613}[degree], rel=1e-6
    )


@pytest.mark.parametrize("degree", [1, 2, 4, 8])
def test_short_intervals_keep_the_digits_of_the_error(degree):
    """(u - l)^(q + 1) in the limit, far below what double precision holds beside one."""
    errors = [minimax(1 - w, 1 + w, degree).error for w in (Decimal("1e-8"), Decimal("1e-9"))]
    assert float(errors[0] / errors[1]) == pytest.approx(10.0 ** (degree + 1), rel=1e-6)


def test_one_point_has_the_taylor_polynomial():
    best = minimax(Decimal(1), Decimal(1), 2)
    assert best.error == 0
    assert [float(c) for c in best.coefficients] == [1.875, -1.25, 0.375]
    scaled = minimax(Decimal(2), Decimal(2), 3)
    assert abs(1 - evaluate(scaled.coefficients, Decimal(2))) < Decimal("1e-30")


@pytest.mark.parametrize(
    ("power", "wanted"),
    [(1, (3, -3, 1)), (2, (15 / 8, -5 / 4, 3 / 8)), (3, (14 / 9, -7 / 9, 2 / 9)), (4, (45 / 32, -9 / 16, 5 / 32))],
)
def test_taylor_polynomials_of_roots(power, wanted):
    np.testing.assert_allclose([float(c) for c in taylor(2, power)], wanted, rtol=1e-15)


def test_the_callers_decimal_context_changes_nothing():
    wanted = minimax(Decimal("0.0123"), Decimal(1), 4)
    with decimal.localcontext(prec=5):
        assert minimax(Decimal("0.0123"), Decimal(1), 4).coefficients == wanted.coefficients


@settings(max_examples=30, deadline=None)
@given(
    coefficients=st.lists(st.floats(-10, 10), min_size=1, max_size=9),
    ends=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    power=st.integers(1, 4),
)
def test_image_of_an_interval(coefficients, ends, power):
    """Values on a grid lie within it, and its ends are values."""
    low, high = min(ends), max(ends)
    bottom, top = map(float, image([Decimal(c) for c in coefficients], Decimal(low), Decimal(high), power))
    x = np.linspace(low, high, 4001)
    values = x * np.polynomial.polynomial.polyval(x**power, coefficients)
    slack = 1e-9 * max(1.0, np.abs(values).max())
    assert bottom - slack <= values.min()
    assert values.max() <= top + slack
    # Between two points of the grid a polynomial of these sizes moves by little.
    near = 0.05 * max(1.0, np.abs(values).max())
    assert values.min() <= bottom + near
    assert top - near <= values.max()
