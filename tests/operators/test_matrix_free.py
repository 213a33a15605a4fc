"""Callables whose shape and dtype are declared beside them, and what is said of those where they are not."""

import importlib
import importlib.util
import warnings

import numpy as np
import pytest

import resolvent as rv

D = np.array([1.0, 2.0, 4.0])


@pytest.mark.parametrize("backend", [None, "numpy"])
def test_a_declared_callable_is_solved(backend):
    A = rv.as_operator(lambda x: D * x, (3, 3))
    solution = rv.cg(A, D, rtol=1e-12, backend=backend)
    assert solution.converged
    np.testing.assert_allclose(solution.x, 1.0, rtol=1e-12)
    assert (A.shape, A.dtype) == ((3, 3), np.float64)


def test_complex_products_are_declared():
    phase = np.array([[2, 1j], [-1j, 2]])
    A = rv.as_operator(lambda x: phase @ x, (2, 2), complex)
    b = np.array([1.0, 2.0 + 1j])
    np.testing.assert_allclose(rv.cg(A, b, rtol=1e-12).x, np.linalg.solve(phase, b), rtol=1e-10)


def test_with_its_adjoint_it_may_be_rectangular():
    M = np.array([[1.0, 2.0], [0.0, 1.0], [3.0, 1.0]])
    A = rv.as_operator(lambda x: M @ x, (3, 2), rmatvec=lambda y: M.T @ y)
    b = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(rv.lsmr(A, b, atol=1e-12, btol=1e-12).x, np.linalg.lstsq(M, b)[0], rtol=1e-8)


def test_vectors_of_torch():
    torch = pytest.importorskip("torch")
    d = torch.tensor(D)
    solution = rv.cg(rv.as_operator(lambda x: d * x, (3, 3)), d, rtol=1e-12)
    np.testing.assert_allclose(solution.x.numpy(), 1.0, rtol=1e-12)


@pytest.mark.parametrize("library", ["numpy", "torch", "array_api_strict"])
def test_a_bare_callable_is_told_how_it_is_declared(library):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}")
    b = importlib.import_module(library).ones(3)
    for solve in (rv.cg, rv.solve):
        with pytest.raises(TypeError, match=r"rv\.as_operator\(A, shape, dtype\)"):
            solve(lambda x: x, b)


def test_what_is_declared_is_looked_at():
    with pytest.raises(rv.InputError, match="are of a callable"):
        rv.as_operator(np.eye(2), dtype=float)
    with pytest.raises(TypeError):
        rv.as_operator(lambda x: x, (2.5, 2))


def test_a_tensor_that_requires_gradients_is_warned_of_once():
    torch = pytest.importorskip("torch")
    A, b = torch.eye(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64, requires_grad=True)
    with pytest.warns(rv.GradientWarning, match=r"rv\.layers\.solve") as heard:
        rv.cg(A, b)
    assert [warning.filename for warning in heard] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.no_grad():
            rv.cg(A, b)
        rv.cg(A, b.detach())
        rv.layers.solve(A, b, method="cg")
