"""Matrix functions of arrays of every library, and in emulated precision."""

import numpy as np
import pytest
from matrices import hermitian, log_spectrum, off

import resolvent as rv

strict = pytest.importorskip("array_api_strict")


def tensors(x):
    torch = pytest.importorskip("torch")
    return torch.tensor(x)


LIBRARIES = {"torch": tensors, "array_api": strict.asarray}


def calls():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((3, 8, 5))
    A[1] = 0
    A[2] *= np.logspace(0, -6, 5)
    S = np.stack([hermitian(log_spectrum(5, c), seed=k)[0] for k, c in enumerate((1, 10, 1e4))])
    G, C = rng.standard_normal((3, 5, 5)), rng.standard_normal((3, 5, 5))
    return {
        "polar": (rv.polar, (A,)),
        "gram": (lambda X, **more: rv.orthogonalize(X, form="gram", **more), (A,)),
        "sign": (rv.matrix_sign, (S - 0.3 * np.eye(5),)),
        "newton": (rv.matrix_sign, (G,)),
        "sqrtm": (rv.sqrtm, (S,)),
        "invsqrtm": (rv.invsqrtm, (S,)),
        "inverse": (rv.inverse, (G,)),
        "pinv": (rv.pinv, (A,)),
        "root": (lambda X, **more: rv.inverse_root(X, 3, **more), (S,)),
        "lyapunov": (rv.solve_lyapunov, (S, C)),
    }


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", list(calls()))
def test_every_library_gives_what_numpy_gives(name, library):
    function, arguments = calls()[name]
    made = [LIBRARIES[library](array) for array in arguments]
    kept = [np.array(array) for array in arguments]
    wanted, found = function(*arguments, rtol=1e-7), function(*made, rtol=1e-7)
    assert found.converged
    assert found.backend == library
    assert type(found.x) is type(made[0])
    np.testing.assert_allclose(np.asarray(found.x), wanted.x, rtol=1e-4, atol=1e-5 * np.abs(wanted.x).max())
    for array, before in zip(made, kept, strict=True):
        np.testing.assert_array_equal(np.asarray(array), before)


def test_numba_stands_for_numpy():
    A = np.random.default_rng(0).standard_normal((6, 4))
    np.testing.assert_array_equal(rv.polar(A, backend="numba").U, rv.polar(A).U)
    with pytest.raises(TypeError, match="backend"):
        rv.polar(A, backend="torch")


def test_two_libraries_are_not_mixed():
    with pytest.raises(rv.BackendError, match="one library"):
        rv.solve_lyapunov(np.eye(2), strict.asarray(np.eye(2)))


def test_gradients_do_not_flow_and_tensors_that_ask_for_them_are_taken():
    torch = pytest.importorskip("torch")
    A = torch.eye(3, dtype=torch.float64, requires_grad=True)
    assert not rv.polar(A).x.requires_grad


@pytest.mark.parametrize("policy", ["storage", "matvec", "tensor-core"])
def test_policies(policy):
    """Certificates are of the data: an iteration in bfloat16 is not believed what it sees."""
    A = np.random.default_rng(0).standard_normal((20, 12))
    found = rv.orthogonalize(A, precision=rv.Precision("bf16", policy=policy), rtol=3e-2)
    assert found.converged
    assert found.precision == "bf16"
    exact = np.linalg.norm(found.x.T @ found.x - np.eye(12)) / np.sqrt(12)
    np.testing.assert_allclose(found.relative_residual, exact, rtol=1e-9)
    assert off(found.x, rv.polar(A, rtol=1e-10).U) <= 5e-2


def test_a_square_root_in_bfloat16_is_not_said_to_be_there():
    A, _ = hermitian(log_spectrum(12, 1e3))
    with pytest.warns(rv.ConvergenceWarning):
        assert not rv.sqrtm(A, precision="bf16").converged


def test_single_precision_of_double_data():
    A = np.random.default_rng(0).standard_normal((20, 12))
    found = rv.orthogonalize(A, precision="float32", rtol=1e-5)
    assert found.converged
    assert found.x.dtype == np.float64
    assert 1e-9 < found.relative_residual <= 1e-5


def test_a_solution_is_what_other_solutions_are():
    A = np.random.default_rng(0).standard_normal((6, 4))
    found = rv.polar(A, rtol=1e-9)
    assert found.raise_for_status() is found
    assert "matrix products" in str(found)
    assert found.residual_iterations[-1] == found.iterations
    assert found.products == found.matvecs
    assert "newton_schulz" in repr(found)
    assert "Schedule of degrees" in found.reason
