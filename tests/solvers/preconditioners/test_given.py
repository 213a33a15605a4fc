"""M by its name is what rv.precondition makes of A; factors of SuperLU are the inverse of what was factored."""

import numpy as np
import pytest
import scipy.sparse as sparse
import scipy.sparse.linalg

import resolvent as rv
from resolvent.gallery import poisson
from resolvent.solvers.least_squares.right import right_preconditioner
from resolvent.solvers.preconditioners.given import PRECONDITIONERS

LOADED = poisson((6, 7)).A
VARIED = sparse.diags_array(np.linspace(1, 30, 42)) @ LOADED @ sparse.diags_array(np.linspace(1, 30, 42))
B = np.arange(1.0, 43.0)
MAKERS = {
    "jacobi": rv.precondition.jacobi,
    "ssor": rv.precondition.ssor,
    "polynomial": rv.precondition.polynomial,
    "chebyshev": rv.precondition.polynomial,
    "neumann": lambda A, **own: rv.precondition.polynomial(A, kind="neumann", **own),
    "gmres_polynomial": lambda A, **own: rv.precondition.polynomial(A, 8, kind="gmres", **own),
    "block_jacobi": rv.precondition.block_jacobi,
    "ilu": rv.precondition.ilu,
    "ilu0": rv.precondition.ilu0,
    "incomplete_cholesky": rv.precondition.incomplete_cholesky,
    "amg": rv.precondition.amg,
    "multigrid": rv.precondition.multigrid,
}


def test_every_maker_has_a_name():
    assert set(MAKERS) == set(PRECONDITIONERS)
    makers = {name for name in rv.precondition.__all__ if name.islower()}
    assert makers <= set(PRECONDITIONERS)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("method", ["cg", "gmres", "auto"])
def test_a_name_is_what_is_made_of_A(name, method):
    named = rv.solve(VARIED, B, method=method, M=name.upper(), rtol=1e-9, backend="numpy")
    made = rv.solve(VARIED, B, method=method, M=MAKERS[name](VARIED, backend="numpy"), rtol=1e-9, backend="numpy")
    assert named.converged
    assert named.preconditioned
    assert named.iterations == made.iterations
    np.testing.assert_array_equal(named.x, made.x)


def test_iterations_are_those_of_the_preconditioner():
    plain, named = (rv.cg(VARIED, B, M=M, rtol=1e-9, backend="numpy") for M in (None, "jacobi"))
    assert named.iterations < 0.6 * plain.iterations
    assert named.condition == pytest.approx(rv.cg(VARIED, B, M=np.diag(1 / VARIED.diagonal()), rtol=1e-9).condition)


@pytest.mark.parametrize("power", [-700, 700])
def test_of_matrices_of_any_size(power):
    named = rv.cg(VARIED * 2.0**power, B, M="ssor", rtol=1e-9, backend="numpy")
    plain = rv.cg(VARIED, B, M="ssor", rtol=1e-9, backend="numpy")
    assert named.iterations == plain.iterations
    assert named.condition == pytest.approx(plain.condition)
    assert named.spectrum == pytest.approx(plain.spectrum)


@pytest.mark.usefixtures("compiled_small_solves")
def test_small_compiled_solves_take_it():
    A = VARIED.toarray()
    named, made = (rv.cg(A, B, M=M, backend="numba") for M in ("jacobi", rv.precondition.jacobi(A)))
    assert named.preconditioned
    np.testing.assert_array_equal(named.x, made.x)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_each_matrix_of_a_batch_has_its_own(backend):
    A = np.stack([VARIED.toarray(), LOADED.toarray() + np.diag(np.arange(42.0) ** 2)])
    found = rv.cg(A, np.stack([B, B]), M="jacobi", rtol=1e-9, backend=backend)
    for k in (0, 1):
        alone = rv.cg(A[k], B, M="jacobi", rtol=1e-9, backend=backend)
        assert found.iterations[k] == alone.iterations
        np.testing.assert_allclose(found.x[k], alone.x, rtol=1e-12)


def test_right_hand_sides_of_one_matrix_share_it():
    found = rv.cg(VARIED, np.stack([B, B[::-1]], 1), M="jacobi", rtol=1e-9, backend="numpy")
    alone = rv.cg(VARIED, B[::-1].copy(), M="jacobi", rtol=1e-9, backend="numpy")
    assert found.iterations[1] == alone.iterations
    np.testing.assert_allclose(found.x[:, 1], alone.x, rtol=1e-9)


def test_a_prepared_solver_makes_it_of_the_entries_of_the_moment():
    solver = rv.prepare(VARIED, method="cg", M="jacobi", backend="numpy")
    solver.update(LOADED.tocsr())
    fresh = rv.cg(LOADED, B, M="jacobi", rtol=1e-9, backend="numpy")
    assert solver.solve(B, rtol=1e-9).iterations == fresh.iterations


def test_sequences_and_refinement_take_a_name():
    assert rv.Sequence("cg", M="ssor", backend="numpy").solve(VARIED, B).converged
    found = rv.refine(VARIED, B, M="jacobi", inner_precision="fp32", backend="numpy")
    assert found.converged
    low = rv.cg(VARIED, B, M="jacobi", rtol=1e-4, precision="fp32", backend="numpy")
    assert low.converged
    assert low.preconditioned


def in_a_batch(A, b, M):
    return rv.cg(np.stack([A.toarray()] * 2), np.stack([b, b]), M=M)


@pytest.mark.parametrize(
    ("M", "said"),
    [
        ("jakobi", "^M: found 'jakobi'; wanted one of jacobi, ssor, .*did you mean 'jacobi'"),
        ("spilu", "^M: found 'spilu'; wanted one of jacobi, .*did you mean 'ilu'"),
        ("", "^M: found ''; wanted one of"),
        (rv.precondition.jacobi, "^M: found the function jacobi; wanted its name, 'jacobi'"),
    ],
)
@pytest.mark.parametrize("solve", [rv.cg, rv.solve, in_a_batch])
def test_near_misses_are_suggested(solve, M, said):
    with pytest.raises(rv.InputError, match=said):
        solve(VARIED, B, M=M)


def test_what_needs_entries_names_what_does_not():
    A = scipy.sparse.linalg.aslinearoperator(VARIED)
    with pytest.raises(rv.InputError, match=r"'jacobi', which is made of the entries of A.*'polynomial'"):
        rv.cg(A, B, M="jacobi")
    assert rv.cg(A, B, M="chebyshev", backend="numpy").converged


def test_least_squares_have_those_of_columns():
    A = sparse.vstack([VARIED, LOADED]).tocsr()
    found = rv.lsmr(A, np.ones(84), M="Jacobi", atol=1e-10, btol=1e-10)
    assert found.converged
    with pytest.raises(rv.InputError, match=r"^M: found 'ssor'; wanted one of jacobi"):
        rv.lsmr(A, np.ones(84), M="ssor")
    with pytest.raises(rv.InputError, match="did you mean 'jacobi'"):
        rv.lstsq(A, np.ones(84), method="cgls", M="jakobi")


# Factors ------------------------------------------------------------------------------------------------------------


def skewed(dtype="float64"):
    rng = np.random.default_rng(3)
    A = sparse.random_array((42, 42), density=0.1, rng=rng) + sparse.diags_array(np.linspace(2, 4, 42))
    return (
        (A + 1j * sparse.diags_array(np.linspace(-1, 1, 42)) if np.dtype(dtype).kind == "c" else A)
        .astype(dtype)
        .tocsc()
    )


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("method", ["gmres", "bicgstab"])
def test_whole_factors_take_one_iteration(method, dtype):
    A = skewed(dtype)
    found = rv.solve(A, B.astype(dtype), method=method, M=scipy.sparse.linalg.splu(A), backend="numpy")
    assert found.converged
    assert found.iterations == 1


def test_incomplete_factors_precondition():
    A = poisson((12, 12)).A
    M = scipy.sparse.linalg.spilu(A.tocsc(), drop_tol=1e-2)
    plain, found = (rv.gmres(A, np.ones(144), M=one, rtol=1e-8, backend="numpy") for one in (None, M))
    assert found.converged
    assert found.iterations < plain.iterations / 2
    several = rv.gmres(A, np.ones((144, 2)), M=M, rtol=1e-8, backend="numpy")
    assert (several.iterations == found.iterations).all()


def test_factors_of_a_real_matrix_precondition_complex_systems():
    A = skewed()
    lu = scipy.sparse.linalg.splu(A)
    found = rv.gmres(A, B + 1j * B[::-1], M=lu, rtol=1e-10, backend="numpy")
    assert found.iterations == 1
    np.testing.assert_allclose(A @ found.x, B + 1j * B[::-1], rtol=1e-8)
    with pytest.raises(rv.InputError, match="M: found complex128 for a float64 system"):
        rv.gmres(A, B, M=scipy.sparse.linalg.splu(skewed("complex128")))


def test_factors_of_another_shape_are_refused():
    with pytest.raises(rv.InputError, match=r"M: found shape \(42, 42\); wanted \(40, 40\)"):
        rv.cg(np.eye(40), np.ones(40), M=scipy.sparse.linalg.splu(skewed()))


def test_factors_in_low_precision_and_for_stacks():
    A = skewed()
    lu = scipy.sparse.linalg.splu(A)
    assert rv.gmres(A, B, M=lu, precision="bf16", rtol=2e-2, backend="numpy").converged
    stack = rv.cg(LOADED, np.stack([B, B], 1), M=scipy.sparse.linalg.splu(LOADED.tocsc()), backend="numpy")
    assert list(stack.iterations) == [1, 1]


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_least_squares_solve_with_factors_and_their_adjoints(dtype):
    from resolvent.solvers.least_squares.problem import LeastSquares

    A = skewed(dtype)
    problem = LeastSquares(A, B.astype(dtype), M=scipy.sparse.linalg.splu(A), backend="numpy")
    inverse, y = np.linalg.inv(A.toarray()), np.linspace(-1, 1, 42).astype(dtype)
    np.testing.assert_allclose(problem.M.apply(y, np.empty_like(y)), inverse @ y, rtol=1e-10)
    np.testing.assert_allclose(problem.M.apply_adjoint(y, np.empty_like(y)), inverse.conj().T @ y, rtol=1e-10)
    assert rv.lsmr(A, B.astype(dtype), M=scipy.sparse.linalg.splu(A)).iterations <= 2
    assert right_preconditioner(None, problem) is None


# Other libraries ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("M", MAKERS)
@pytest.mark.parametrize("library", ["torch on numba", "torch", "array_api"])
def test_names_on_other_libraries(library, M):
    if library == "array_api":
        xp = pytest.importorskip("array_api_strict")
        A, b, options = xp.asarray(VARIED.toarray()), xp.asarray(B), {}
        if M == "ssor":
            pytest.skip("no sweeps on the array API")
    else:
        torch = pytest.importorskip("torch")
        A, b = torch.tensor(VARIED.toarray()), torch.tensor(B)
        options = {} if library == "torch on numba" else {"backend": "torch"}
    found = rv.cg(A, b, M=M, rtol=1e-9, **options)
    expected = rv.cg(VARIED.toarray(), B, M=M, rtol=1e-9, backend="numpy")
    assert found.converged
    assert abs(found.iterations - expected.iterations) <= 1


def test_factors_solve_for_tensors_of_the_cpu_and_say_where_they_cannot():
    torch = pytest.importorskip("torch")
    A, lu = torch.tensor(skewed().toarray()), scipy.sparse.linalg.splu(skewed())
    found = rv.gmres(A, torch.tensor(B), M=lu)
    assert isinstance(found.x, torch.Tensor)
    assert found.iterations == 1
    with pytest.raises(rv.BackendError, match="M: factors of SuperLU solve in NumPy arrays"):
        rv.gmres(A, torch.tensor(B), M=lu, backend="torch")
