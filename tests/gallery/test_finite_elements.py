"""PyAMG's matrices: what is said of each is what is true of it."""

import sys

import numpy as np
import pytest
from scipy import sparse

from resolvent.gallery import finite_element_names, load_finite_elements

KNOWN = {  # symmetric, positive definite
    "airfoil": (True, True),
    "bar": (True, True),
    "helmholtz_2D": (False, False),
    "knot": (True, True),
    "local_disc_galerkin_diffusion": (True, True),
    "recirc_flow": (False, False),
    "unit_cube": (True, True),
    "unit_square": (True, False),
}


@pytest.mark.parametrize("name", KNOWN)
def test_matrix(name):
    pytest.importorskip("pyamg")
    assert name in finite_element_names()
    problem = load_finite_elements(name)
    A = problem.A
    assert isinstance(A, sparse.csr_array)
    assert A.indices.dtype == A.indptr.dtype == np.int32
    assert A.has_canonical_format
    assert (problem.symmetric, problem.positive_definite) == KNOWN[name]
    assert problem.b.dtype == A.dtype == (np.complex128 if name == "helmholtz_2D" else np.float64)
    np.testing.assert_allclose(A @ problem.x, problem.b, rtol=0, atol=1e-13 * np.abs(A).max())
    if problem.positive_definite:
        np.linalg.cholesky(A.toarray())


def test_conditions():
    pytest.importorskip("pyamg")
    assert load_finite_elements("airfoil").condition == pytest.approx(74.92, rel=1e-3)
    assert load_finite_elements("unit_square").condition == np.inf
    assert load_finite_elements("unit_square").spectrum[0] == 0
    assert load_finite_elements("recirc_flow").condition is None


def test_unknown_name():
    pytest.importorskip("pyamg")
    with pytest.raises(ValueError, match="name: found 'sphere'; wanted one of airfoil"):
        load_finite_elements("sphere")


def test_without_pyamg_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyamg.gallery.example", None)
    with pytest.raises(ImportError, match=r"resolvent\[amg\]"):
        load_finite_elements("airfoil")
    with pytest.raises(ImportError, match=r"resolvent\[amg\]"):
        finite_element_names()
