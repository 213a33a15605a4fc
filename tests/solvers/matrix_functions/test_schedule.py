"""A schedule as an object: its costs, its value, what it prints, and its figure."""

import pickle

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.matrix_functions.schedule import Schedule, step_products

ns = rv.newton_schulz


def test_products_of_steps():
    """Of a polar step: X X^T, h of it, and h X. Of a coupled one: h(P), X W, and W^r P."""
    assert [step_products(q) for q in (1, 2, 3, 4, 8)] == [2, 3, 4, 4, 5]
    assert [step_products(2, root) for root in (2, 3, 4, 5, 8)] == [4, 5, 5, 6, 6]
    assert step_products(5) == 5  # the square, and two by Horner's rule in it
    mixed = Schedule(((1.5, -0.5), (1.875, -1.25, 0.375), (1.0,) * 9), 0.1)
    assert (mixed.steps, mixed.degrees, mixed.products) == (3, (3, 5, 17), 10)


def test_values():
    mixed = Schedule(((1.5, -0.5), (2.0, -1.5, 0.5)), 0.1)
    x = 0.3
    first = 1.5 * x - 0.5 * x**3
    wanted = 2 * first - 1.5 * first**3 + 0.5 * first**5
    assert mixed(x) == pytest.approx(wanted, rel=1e-15)
    assert mixed(-x) == pytest.approx(-wanted, rel=1e-15)
    grid = np.array([[0.0, x], [-x, 1.0]])
    kept = grid.copy()
    np.testing.assert_allclose(mixed(grid), [[0, wanted], [-wanted, 1]], rtol=1e-15)
    np.testing.assert_array_equal(grid, kept)
    assert mixed(np.float32(x)).dtype == np.float32
    cubed = Schedule(((4 / 3, -1 / 3),), 0.1, root=3)
    assert cubed(0.5) == pytest.approx(0.5 * (4 / 3 - 0.125 / 3))


def test_interval_after_each_step():
    found = Schedule(((1.5, -0.5),) * 2, 0.5)
    assert found.interval(1) == (0.6875, 1.0)
    assert found.interval(2)[0] == 1.5 * 0.6875 - 0.5 * 0.6875**3
    assert found.error_bound == 1 - found.interval(2)[0]


def test_a_diverging_schedule_has_an_infinite_bound():
    assert Schedule(((3.0, -9.0),) * 40, 0.1).error_bound == float("inf")


def test_the_same_schedules_are_equal():
    one, two = ns.preset("muon"), ns.preset("muon")
    assert one == two
    assert hash(one) == hash(two)
    assert one != ns.preset("su")
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError):
        one.lower = 0.5


def test_in_words():
    assert str(ns.schedule(1e-3, products=15)) == (
        "minimax schedule: degrees 17, 17, 17, 15 products, [0.001, 1] to within 0.014 of one"
    )
    assert repr(ns.preset("cubic5")).startswith("<cubic5 schedule: degrees 3, 3, 3, 3, 3, 10 products, [0.001, 1] to")
    assert str(ns.schedule(1e-3, steps=5, precision="bf16")).startswith("cushioned minimax schedule: degrees 5, 5,")
    assert "for root 4" in str(ns.schedule(0.1, degree=5, steps=2, root=4))


def test_figure(tmp_path):
    pytest.importorskip("matplotlib")
    found = ns.schedule(1e-2, degree=5, steps=3)
    axes = found.plot(file=tmp_path / "schedule.svg")
    assert (tmp_path / "schedule.svg").stat().st_size > 1000
    last = axes.get_lines()[2]
    x, y = last.get_xdata(), last.get_ydata()
    inside = x >= 1e-2
    assert np.abs(1 - y[inside]).max() == pytest.approx(found.error_bound, rel=1e-6)
    assert axes.get_title(loc="left") == "minimax schedule: 9 products"
    assert ns.preset("muon").plot(axes) is axes
    with pytest.raises(rv.InputError, match=r"file: found 'schedule\.xyz'; wanted a figure"):
        found.plot(file=tmp_path / "schedule.xyz")
