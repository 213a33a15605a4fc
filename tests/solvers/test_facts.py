"""Facts in closed form, or read off diagonals, are those of the same matrix as CSR."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import resolvent as rv
from resolvent.solvers.operators.facts import facts_of_csr

numbers = st.sampled_from([0.0, -1.0, 1.0, 0.5, -2.25, 3.0])


def same(found, wanted):
    for name in wanted.__slots__:
        one, other = getattr(wanted, name), getattr(found, name)
        assert other == (pytest.approx(one, rel=1e-13, abs=1e-13) if isinstance(one, float) else one), name


@given(
    grid=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    center=numbers,
    values=st.lists(numbers, min_size=6, max_size=6),
    turn=st.sampled_from([1.0, 1j, 1 + 1j]),
)
def test_stencils(grid, center, values, turn):
    pairs = tuple((values[2 * k] * turn, values[2 * k + 1]) for k in range(len(grid)))
    operator = rv.Stencil(tuple(grid), center, pairs, np.float64 if turn == 1 else np.complex128)
    same(operator.facts(), facts_of_csr(operator.tocsr()))


@given(
    n=st.integers(1, 6),
    offsets=st.lists(st.integers(-6, 6), min_size=1, max_size=5, unique=True),
    seed=st.integers(0, 99),
    exponent=st.sampled_from([0, 900, -900]),
)
def test_diagonals(n, offsets, seed, exponent):
    rng = np.random.default_rng(seed)
    data = np.ldexp(rng.integers(-2, 3, (len(offsets), n)).astype(float), exponent)
    operator = rv.Diagonals(data, offsets)
    unit = 2.0**-exponent
    found, wanted = operator.facts(), facts_of_csr(operator.tocsr())
    for name in wanted.__slots__:
        one, other = getattr(wanted, name), getattr(found, name)
        if isinstance(one, float):
            assert other * unit == pytest.approx(one * unit, rel=1e-13, abs=1e-13), name
        else:
            assert other == one, name


@given(n=st.integers(1, 6), bands=st.integers(1, 4), seed=st.integers(0, 99))
def test_symmetric_diagonals(n, bands, seed):
    data = np.random.default_rng(seed).integers(-2, 3, (bands, n)).astype(float)
    operator = rv.Diagonals(data, range(bands), symmetric=True)
    same(operator.facts(), facts_of_csr(operator.tocsr()))
