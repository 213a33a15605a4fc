"""Compositions: the error tables that are published, and the best mix against every other one."""

import itertools
from decimal import Decimal

import pytest

from resolvent.solvers.matrix_functions.mixes import Steps, best_mix, composed_errors, in_turn, until
from resolvent.solvers.matrix_functions.schedule import step_products

# Of T steps of one degree on [l, 1], from a computation with 60 to 220 digits.
ERRORS = {
    (3, "1e-1"): "6.0723e-1 3.0675e-1 7.2445e-2 3.942e-3 1.1654e-5 1.0187e-10 7.78e-21 4.54e-41",
    (3, "1e-2"): "9.4961e-1 8.7575e-1 7.158e-1 4.4412e-1 1.5632e-1 1.8451e-2 2.5536e-4 4.8907e-8",
    (3, "1e-3"): "9.9482e-1 9.8661e-1 9.6571e-1 9.1403e-1 7.9561e-1 5.6815e-1 2.6505e-1 5.3729e-2",
    (3, "1e-4"): "9.9948e-1 9.9865e-1 9.965e-1 9.9094e-1 9.7669e-1 9.4089e-1 8.5556e-1 6.7621e-1",
    (5, "1e-1"): "4.5342e-1 6.2675e-2 1.5407e-4 2.2859e-12 7.4658e-36",
    (5, "1e-2"): "9.1909e-1 7.072e-1 2.6944e-1 1.2528e-2 1.2291e-6 1.1604e-18 9.77e-55",
    (5, "1e-3"): "9.9153e-1 9.6457e-1 8.5977e-1 5.4589e-1 1.1345e-1 9.1647e-4 4.811e-10 6.96e-29",
    (5, "1e-4"): "9.9915e-1 9.9638e-1 9.8472e-1 9.3699e-1 7.639e-1 3.5339e-1 2.8795e-2 1.4927e-5",
    (7, "1e-2"): "8.8953e-1 5.2256e-1 4.5566e-2 2.36e-6",
    (7, "1e-3"): "9.8823e-1 9.3268e-1 6.7297e-1 1.3719e-1 1.95e-4 7.9e-16",
    (7, "1e-4"): "9.9881e-1 9.93e-1 9.5937e-1 7.8696e-1 2.8334e-1 3.6318e-3 9.5e-11",
    (9, "1e-1"): "2.6091e-1 6.11e-4 4.2e-17",
    (9, "1e-2"): "8.6103e-1 3.5792e-1 3.0446e-3 1.29e-13",
    (9, "1e-3"): "9.8492e-1 8.9218e-1 4.4964e-1 9.8451e-3 4.55e-11",
    (9, "1e-4"): "9.9848e-1 9.8851e-1 9.1659e-1 5.3769e-1 2.5101e-2 4.9e-9",
    (17, "1e-2"): "7.5738e-1 4.289e-2 1.82e-13",
    (17, "1e-3"): "9.7182e-1 6.7553e-1 1.3958e-2 7.5e-18",
    (17, "1e-4"): "9.9714e-1 9.5992e-1 5.7566e-1 3.0454e-3",
}

# Of h of degree q for the r-th root, on eigenvalues from the third on to one.
ROOT_ERRORS = {
    (1, 1, "1e-2"): ".9245 .7464 .3861 .0805 .00325 5.3e-6 1.4e-11",
    (1, 1, "1e-4"): ".9992 .9968 .9873 .9509 .8251 .5162 .1537 .01195",
    (2, 1, "1e-4"): ".9982 .984 .870 .381 .0155 9.3e-7",
    (1, 4, "1e-4"): ".692 .511 .295 .104 .0136 2.3e-4 6.6e-8",
    (1, 4, "1e-6"): ".889 .805 .672 .485 .268 .0866 .00933 1.1e-4",
    (2, 3, "1e-4"): ".759 .449 .0997 .00115 1.8e-9",
    (2, 4, "1e-4"): ".615 .308 .0495 2.3e-4 2.2e-11",
    (2, 4, "1e-6"): ".856 .686 .402 .103 .0020 1.6e-8",
}


def last_digit(text):
    """Half a unit in the last digit of a printed number."""
    return Decimal((0, (1,), Decimal(text).as_tuple().exponent)) * Decimal("0.501")


def matches(found, printed):
    return all(
        abs(value - Decimal(text)) <= last_digit(text) for value, text in zip(found, printed.split(), strict=True)
    )


@pytest.mark.parametrize(("degree", "lower"), ERRORS)
def test_errors_are_those_published(degree, lower):
    printed = ERRORS[degree, lower]
    assert matches(composed_errors(Decimal(lower), [(degree - 1) // 2] * len(printed.split())), printed)


@pytest.mark.parametrize(("degree", "power", "smallest"), ROOT_ERRORS)
def test_errors_for_roots_are_those_published(degree, power, smallest):
    printed = ROOT_ERRORS[degree, power, smallest]
    lower = Decimal(smallest) ** (Decimal(1) / power)
    assert matches(composed_errors(lower, [degree] * len(printed.split()), power), printed)


def test_errors_fall_with_every_step_and_with_the_interval():
    by_lower = [composed_errors(Decimal(l), [2] * 6) for l in ("1e-4", "1e-3", "1e-2")]
    for errors in by_lower:
        assert errors == sorted(errors, reverse=True)
    for longer, shorter in itertools.pairwise(by_lower):
        assert all(a > b for a, b in zip(longer, shorter, strict=True))


def plain(root=1):
    return Steps(root, 2.0**-53, lambda degree: 0.0, 1.0)


def orders(products, degrees, root=1):
    """All sequences of degrees that cost at most so many products."""
    found = []
    for degree in degrees:
        left = products - step_products(degree, root)
        if left >= 0:
            found += [[degree]] + [[degree, *more] for more in orders(left, degrees, root)]
    return found


@pytest.mark.parametrize(("products", "lower", "root"), [(9, 1e-3, 1), (12, 1e-3, 1), (11, 3e-2, 1), (14, 0.1, 3)])
def test_no_order_of_degrees_is_better_than_the_best_mix(products, lower, root):
    how, degrees = plain(root), (1, 2, 4, 8)
    best = best_mix(how.start(lower, 1.0), how, degrees, products, 0.0)
    every = [in_turn(how.start(lower, 1.0), how, order).error for order in orders(products, degrees, root)]
    assert len(every) > 10
    assert float(best.error) == pytest.approx(float(min(every)), rel=1e-12)


def test_fewest_products_for_a_tolerance():
    how = plain()
    found = best_mix(how.start(1e-3, 1.0), how, (1, 2, 4, 8), None, 0.1)
    spent = sum(step_products(len(step) - 1) for step in found.coefficients)
    assert spent == 14
    assert best_mix(how.start(1e-3, 1.0), how, (1, 2, 4, 8), 13, 0.1).error > 0.1


def test_fewest_steps_of_one_degree():
    how = plain()
    assert [len(until(how.start(1e-3, 1.0), how, 2, t).coefficients) for t in (0.3, 0.1, 1e-2, 1e-6)] == [5, 6, 6, 7]
    assert [len(until(how.start(1e-6, 1.0), how, 1, t).coefficients) for t in (0.3, 0.1, 1e-2, 1e-6)] == [
        15,
        15,
        16,
        18,
    ]


def test_what_is_out_of_reach_is_not_sought_for_ever():
    """A safety of two halves what a step gains: from some interval on nothing is gained."""
    how = Steps(1, 2.0**-53, lambda degree: 0.5, 1.9)
    assert until(how.start(1e-3, 1.0), how, 1, 1e-12) is None
    assert best_mix(how.start(1e-3, 1.0), how, (1, 2), None, 1e-12) is None
    assert best_mix(how.start(1e-3, 1.0), how, (1, 2), 40, 1e-12).error < 1
