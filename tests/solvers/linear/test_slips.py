"""What a call is often given by mistake is answered with what to type instead."""

import importlib
import pathlib

import numpy as np
import pytest

import resolvent as rv

A = np.array([[4.0, 1, 0], [1, 3, 0], [0, 0, 2]])
B = np.array([1.0, 2.0, 3.0])


def cg(*args, **options):
    return rv.cg(*args, backend="numpy", **options)


@pytest.mark.parametrize(
    "slip",
    [
        lambda x: A @ x,
        lambda x: B - x,
        np.linalg.norm,
        lambda x: x.copy(),
        lambda x: x[0],
        lambda x: x.shape,
    ],
)
def test_callbacks_of_scipy_are_told_where_the_iterate_is(slip):
    with pytest.raises((TypeError, AttributeError), match=r"its \.x"):
        cg(A, B, callback=slip)


def test_what_a_callback_is_told_suggests_its_fields():
    names = {"nit": "iteration", "residual": "residual_norm", "relative_residuals": "relative_residual", "xk": "x"}
    for name, ours in names.items():
        with pytest.raises(AttributeError, match=f"no attribute '{name}'; did you mean '{ours}'"):
            cg(A, B, callback=lambda at, name=name: getattr(at, name))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"maxiter": 100.0}, TypeError, r"maxiter: found 100\.0; wanted an integer; did you mean 100\?"),
        ({"maxiter": 1.5}, TypeError, r"maxiter: found 1\.5; wanted an integer$"),
        ({"rtol": "1e-8"}, ValueError, r"rtol: found '1e-8'; wanted a number in"),
        ({"atol": "legacy"}, ValueError, "atol: found 'legacy'; wanted a finite number"),
    ],
)
def test_limits_of_the_wrong_kind(options, error, said):
    with pytest.raises(error, match=said):
        cg(A, B, **options)


def test_no_method_is_any():
    for call in (rv.solve, rv.lstsq):
        assert call(A, B, method=None, backend="numpy").method == call(A, B, backend="numpy").method
    assert rv.prepare(A, method=None, backend="numpy").method == "auto"
    assert rv.fixed_point(np.cos, B, method=None, backend="numpy").method == "auto"
    with pytest.raises(rv.InputError, match=r"omega: is a parameter of a method; name one"):
        rv.solve(A, B, method=None, omega=1.0)


@pytest.mark.parametrize(
    ("given", "meant"), [("gpu", "cupy"), ("CUDA", "cupy"), ("cpu", "numba"), ("np", "numpy"), ("PyTorch", "torch")]
)
def test_other_words_for_backends(given, meant):
    with pytest.raises(rv.BackendError, match=rf"backend: found '{given}'; .*did you mean '{meant}'\?"):
        rv.cg(A, B, backend=given)


@pytest.mark.parametrize("path", ["A.mtx", pathlib.Path("A.mtx")])
def test_paths_name_what_reads_them(path):
    for call in (lambda: rv.cg(path, B), lambda: rv.solve(A, path), lambda: rv.prepare(path), lambda: rv.lsmr(path, B)):
        with pytest.raises(
            TypeError, match=r"path 'A\.mtx'; .*read_matrix and read_vector of resolvent\.io\.matrix_files"
        ):
            call()
    module = importlib.import_module("resolvent.io.matrix_files")
    assert {"read_matrix", "read_vector"} <= set(vars(module))


# A column and a square matrix are a least-squares problem with three right-hand sides to rv.solve.
@pytest.mark.parametrize(("call", "order"), [(rv.cg, "vector"), (rv.cg, "column"), (rv.solve, "vector")])
def test_arguments_in_the_other_order(call, order):
    b = B if order == "vector" else B[:, None]
    with pytest.raises(
        rv.InputError, match=r"A, b: found a vector, .* and a matrix, \(3, 3\); wanted the matrix first"
    ):
        call(b, A)
    with pytest.raises(rv.InputError, match=r"A, b: found a vector, \(3,\), and a matrix, \(3, 2\)"):
        rv.lstsq(B, A[:, :2])


def test_columns_are_matrices_of_least_squares():
    assert rv.lstsq(B[:, None], A, backend="numpy").x.shape == (1, 3)


def test_parts_of_sparse_matrices_and_diagonals_name_what_declares_them():
    with pytest.raises(rv.InputError, match=r"rv\.as_operator\(\(indptr, indices, values\), \(n, n\)\)"):
        rv.cg((np.array([0, 1, 2]), np.array([0, 1]), np.ones(2)), np.ones(2))
    with pytest.raises(rv.InputError, match=r"scipy\.sparse\.coo_array"):
        rv.cg((np.ones(2), ([0, 1], [0, 1])), np.ones(2))
    with pytest.raises(rv.InputError, match=r"^A: found shape \(3,\); wanted a square matrix \(n, n\); .*diags_array"):
        rv.cg(np.diag(A), B)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: rv.cg(A, B, B), r"^cg\(\) takes A and b by position, but 3 were given; .* such as x0=$"),
        (lambda: rv.sor(A, B, 1.5, B), r"^sor\(\) takes A and b by position, but 4 were given; .* such as x0=$"),
        (lambda: rv.lsmr(A, B, 0.0), r"^lsmr\(\) takes A and b by position, but 3 were given; .* such as x0=$"),
        (lambda: rv.prepare(A, "cg"), r"^prepare\(\) takes A by position, but 2 were given"),
        (lambda: rv.prepare(A).solve(B, B), r"^PreparedSolver.solve\(\) takes b by position, but 2 were given; .*x0="),
    ],
)
def test_what_is_given_by_name_is_said_to_be(call, said):
    with pytest.raises(TypeError, match=said):
        call()


@pytest.mark.parametrize("name", ["verbose", "show"])
def test_a_sequence_suggests_only_what_it_takes(name):
    for make in (lambda **one: rv.Sequence("cg", **one), lambda **one: rv.FixedPointSequence("picard", **one)):
        with pytest.raises(rv.ParameterError, match=f"^{name}: .* has no such parameter") as raised:
            make(**{name: 1})
        assert "progress" not in str(raised.value)
        with pytest.raises(rv.ParameterError, match="did you mean 'rtol'"):
            make(tol=1e-3)
        with pytest.raises(rv.ParameterError, match="did you mean 'warm_start'"):
            make(warmstart=None)
