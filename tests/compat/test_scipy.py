"""What SciPy's own tests leave open of the drop-in: its names and signatures, its codes, and what it takes."""

import inspect
import pathlib
import re
import warnings

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.sparse import linalg

import resolvent as rv
import resolvent.compat.scipy as drop_in
from resolvent.compat.conventions import SCIPY

from .suite import DEVIATIONS, NAMES, module_of_tests

SQUARE = ("bicgstab", "cg", "gmres", "minres")
RNG = np.random.default_rng(0)
N = 12
FACTOR = RNG.standard_normal((N, N))
A, B = FACTOR @ FACTOR.T + N * np.eye(N), RNG.standard_normal(N)
X = np.linalg.solve(A, B)


def called(name, *arguments, **options):
    """The function called as users do, any warning an error."""
    if name == "gmres" and options.get("callback") is not None:
        options.setdefault("callback_type", "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return getattr(drop_in, name)(*arguments, **options)


# Names and signatures.


@pytest.mark.parametrize("name", NAMES)
def test_signatures_are_scipys(name):
    assert inspect.signature(getattr(drop_in, name)) == inspect.signature(getattr(linalg, name))
    assert getattr(drop_in, name).__name__ == name


def test_every_name_is_there_and_only_ours_are_ours():
    assert drop_in.__all__ == linalg.__all__
    assert set(NAMES) <= set(drop_in.__all__)
    for name in linalg.__all__:
        assert (getattr(drop_in, name) is getattr(linalg, name)) == (name not in NAMES), name
    assert dir(drop_in) == sorted(linalg.__all__)
    taken = {}
    exec("from resolvent.compat.scipy import *", taken)
    assert taken["cg"] is drop_in.cg
    assert taken["spsolve"] is linalg.spsolve
    with pytest.raises(AttributeError, match="nor has scipy"):
        drop_in.idrs  # noqa: B018


def test_what_another_version_takes_besides_is_its_own_affair(monkeypatch):
    def cg(A, b, x0=None, *, tol=None, maxiter=None, rtol=1e-3):
        return "theirs", tol, maxiter, rtol

    def lsmr(A, b, maxiter=None):
        return "theirs"

    def ours(A, b, x0=None, *, rtol=1e-5, maxiter=None):
        return "ours", x0, rtol, maxiter

    monkeypatch.setattr(linalg, "cg", cg)
    ours.__name__ = "cg"
    call = SCIPY.drop_in(ours)
    assert inspect.signature(call) == inspect.signature(cg)
    assert call(1, 2, maxiter=7) == ("ours", None, 1e-3, 7)
    assert call(1, 2, tol=4) == ("theirs", 4, None, 1e-3)
    with pytest.raises(TypeError, match="cg"):
        call(1, 2, 3, 4)


def test_the_tests_of_scipy_are_run_on_what_is_put_in(monkeypatch):
    """A solver that always answers with zeros fails them; and SciPy is left as it was."""
    before = linalg.cg
    module = module_of_tests("test_iterative", {"cg": lambda A, b, x0=None, **options: (np.zeros(np.shape(b)), 0)})
    assert linalg.cg is before is linalg._isolve.cg
    case = next(case for case in module.cases if case.solver is module.cg)
    with pytest.raises(AssertionError):
        module.test_convergence(case)


def test_deviations_are_tests_of_scipys_and_on_the_page():
    source = inspect.getsource(module_of_tests("test_iterative", {}))
    page = (pathlib.Path(__file__).parents[2] / "docs" / "migrating_from_scipy.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(test_\w+)` \|", page, re.M) == list(DEVIATIONS)
    for name in DEVIATIONS:
        assert f"def {name}(" in source


# Codes.


@pytest.mark.parametrize("name", SQUARE)
@pytest.mark.parametrize("rtol", [1e-5, 1e-6, 1e-7])
def test_success_is_said_of_the_true_residual(name, rtol):
    problem = rv.gallery.poisson((40, 40))
    matrix, b = problem.A.astype(np.float32), np.ones(1600, np.float32)
    x, info = called(name, matrix, b, rtol=rtol)
    assert x.dtype == np.float32
    missed = np.linalg.norm(b - problem.A @ x.astype(float)) / np.linalg.norm(b)
    assert (info == 0) == (missed <= rtol * (1 + 1e-5))


@pytest.mark.parametrize("name", SQUARE)
def test_codes(name):
    assert called(name, np.eye(3), np.ones(3), maxiter=1)[1] == 0
    assert called(name, A, B, maxiter=0)[1] == 1
    x, info = called(name, A, B, rtol=1e-12, maxiter=1)
    assert info == (1 if name != "gmres" else 0)
    x, info = called(name, A, B, rtol=0, maxiter=40)
    assert info > 0
    np.testing.assert_allclose(x, X, rtol=1e-10)
    assert called(name, np.diag([1.0, 2.0, 0.0]), np.ones(3))[1] > 0


def test_a_recurrence_that_ends_is_a_breakdown():
    skew = np.array([[0.0, 1.0], [-1.0, 0.0]])
    assert called("bicgstab", skew, np.array([1.0, 2.0]))[1] == -10


def test_cg_goes_on_where_the_matrix_is_not_positive_definite():
    """SciPy's own does not look at signs and mostly gets through; a negative definite matrix is solved all the same."""
    negative = -rv.gallery.poisson((12, 12)).A
    b, seen = np.ones(144), []
    for M in (None, rv.precondition.jacobi(-negative), sparse.diags_array(1 / negative.diagonal())):
        x, info = called("cg", negative, b, rtol=1e-8, M=M, callback=seen.append)
        assert info == 0
        assert np.linalg.norm(b - negative @ x) <= 1e-8 * np.linalg.norm(b)
        np.testing.assert_array_equal(seen[-1], x)
    _, info = called("cg", -negative, b, rtol=1e-8, M=sparse.diags_array(1 / negative.diagonal()))
    assert info == 0
    assert called("cg", np.diag([1.0, -1.0]), np.ones(2), rtol=1e-12)[1] == 0
    seen.clear()
    indefinite = np.diag(np.r_[1:8.0, -3:0.0])
    assert called("cg", indefinite, np.ones(10), rtol=1e-12, maxiter=6, callback=seen.append)[1] == len(seen) == 6
    _, info = called("cg", indefinite, np.ones(10), M=np.diag([1.0, -1] * 5), rtol=1e-12)
    assert info > 0


@pytest.mark.parametrize("name", ["cg", "minres"])
def test_symmetry_is_taken_on_trust(name):
    bent = A.copy()
    bent[0, 1] += 1e-7
    x, info = called(name, bent, B, rtol=1e-5)
    assert info == 0
    assert np.linalg.norm(B - bent @ x) <= 1e-5 * np.linalg.norm(B)


@pytest.mark.parametrize("name", SQUARE)
def test_tolerances_of_any_size(name):
    for options in ({"rtol": 1.0}, {"rtol": 1e300}, {"rtol": np.inf}):
        x, info = called(name, A, 1e200 * B, **options)
        assert (x.tolist(), info) == ([0.0] * N, 0)
    if name == "minres":
        return
    for atol in (np.linalg.norm(B), np.inf):
        assert called(name, A, B, rtol=0.0, atol=atol)[1] == 0
    assert np.linalg.norm(B - A @ called(name, A, B, rtol=0.5, atol=1e-9)[0]) <= 0.5 * np.linalg.norm(B)
    x, info = called(name, A, B, rtol=0, atol=1e-9)
    assert info == 0
    assert np.linalg.norm(B - A @ x) <= 1e-9
    with pytest.raises(ValueError, match="atol: found -1"):
        called(name, A, B, rtol=2.0, atol=-1)


@pytest.mark.parametrize("name", SQUARE)
@pytest.mark.parametrize("rtol", [-1.0, np.nan, "1e-5"])
def test_what_is_no_tolerance_is_refused(name, rtol):
    with pytest.raises(rv.InputError, match="rtol"):
        called(name, A, B, rtol=rtol)


# What is taken.


@pytest.mark.parametrize(("name", "dtype"), [*(("cg", dtype) for dtype in "ifegD"), ("gmres", "i"), ("minres", "e")])
def test_dtypes_are_scipys(name, dtype):
    matrix, b = A.astype(dtype), np.arange(N).astype("f" if dtype in "fF" else dtype)
    x, info = called(name, matrix, b)
    wanted, _ = getattr(linalg, name)(matrix, b)
    assert (info, x.dtype) == (0, wanted.dtype)
    assert np.linalg.norm(b - matrix @ x) <= 2e-5 * np.linalg.norm(b)


class Multiplies:
    """The least that SciPy takes for a matrix."""

    shape = (N, N)

    def matvec(self, x):
        return A @ x


@pytest.mark.parametrize("name", SQUARE)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_kinds_of_matrices(name):
    kinds = [np.matrix(A), sparse.csr_matrix(A), sparse.coo_array(A), sparse.dok_array(A), linalg.aslinearoperator(A)]
    kinds += [Multiplies(), linalg.LinearOperator((N, N), matvec=lambda x: A @ x), rv.as_operator(A)]
    for matrix in kinds:
        for b in (B, B[:, None], list(B), np.matrix(B).T):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PendingDeprecationWarning)
                x, info = getattr(drop_in, name)(matrix, b, rtol=1e-10)
            assert (type(x), x.shape, info) == (np.ndarray, (N,), 0)
            np.testing.assert_allclose(x, X, rtol=1e-8)
    for M in (np.eye(N), sparse.eye_array(N, dtype=int), np.matrix(np.eye(N)), Multiplies(), rv.precondition.jacobi(A)):
        np.testing.assert_allclose(called(name, A, B, rtol=1e-10, M=M)[0], X, rtol=1e-8)


@pytest.mark.parametrize("name", SQUARE)
@pytest.mark.parametrize(
    ("arguments", "options", "word"),
    [
        ((np.ones((3, 2)), np.ones(3)), {}, "A: found shape"),
        ((A, B[None]), {}, "b: found shape"),
        ((A, np.c_[B, B]), {}, "b: found shape"),
        ((A, np.ma.masked_less(B, 0)), {}, "b: entry"),
        ((A, B), {"x0": B[:3]}, "x0: found shape"),
        ((A, B), {"x0": "Ax"}, "x0: found 'Ax'"),
        ((A, B), {"M": np.eye(3)}, "M: found shape"),
        ((A, B), {"maxiter": -1}, "maxiter: found -1"),
        ((np.nan * A, B), {}, "A: entry"),
        ((A, np.nan * B), {}, "b: entry"),
    ],
)
def test_what_cannot_be_solved_is_refused_in_words(name, arguments, options, word):
    with pytest.raises(ValueError, match=word):
        called(name, *arguments, **options)


@pytest.mark.parametrize("name", SQUARE)
def test_lists_and_bare_functions_are_no_matrices(name):
    for arguments, options in (((A.tolist(), B), {}), ((A, B), {"M": lambda x: x})):
        with pytest.raises(TypeError, match="type not understood"):
            called(name, *arguments, **options)


@pytest.mark.parametrize("name", SQUARE)
def test_first_guesses(name):
    guess = X.copy()
    seen = []
    x, info = called(name, A, B, x0=guess, callback=seen.append)
    assert (info, seen) == (0, [])
    assert not np.shares_memory(x, guess)
    np.testing.assert_array_equal(guess, X)
    np.testing.assert_array_equal(x, X)
    zero = np.zeros(N)
    x, info = called(name, A, zero, x0=guess)
    assert (x.tolist(), info) == ([0.0] * N, 0)
    assert not np.shares_memory(x, zero)
    for M in (None, np.diag(1 / np.diag(A)), rv.precondition.jacobi(A)):
        image = B if M is None else M @ B
        products = [called(name, A, B, x0=x0, M=M, rtol=1e-9)[0] for x0 in ("Mb", image, image[:, None])]
        np.testing.assert_array_equal(products[0], products[1])
        np.testing.assert_array_equal(products[0], products[2])


# Callbacks.


@pytest.mark.parametrize("name", ["bicgstab", "cg", "minres"])
def test_callbacks_are_told_every_iterate(name):
    seen = []

    def told(x):
        seen.append(x)
        return True  # stops nothing

    x, info = called(name, A, B, rtol=1e-10, callback=told)
    assert info == 0
    assert len({id(one) for one in seen}) == len(seen) > 2
    np.testing.assert_array_equal(seen[-1], x)
    _, stopped = called(name, A, B, rtol=1e-10, callback=told, maxiter=2)
    assert stopped == 2


@pytest.mark.parametrize("name", SQUARE)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_a_callback_raises_comes_through(name, error):
    def told(_):
        raise error

    with pytest.raises(error):
        called(name, A, B, callback=told, rtol=1e-10)


def convection():
    problem = rv.gallery.convection_diffusion((8, 7), 1.0)
    return problem.A, problem.b


@pytest.mark.filterwarnings("ignore::resolvent.ConvergenceWarning")
def test_gmres_tells_of_x_after_every_basis():
    matrix, b = convection()
    seen = []
    x, info = called("gmres", matrix, b, rtol=1e-8, restart=10, callback=seen.append)
    solution = rv.gmres(matrix, b, rtol=1e-8, restart=10)
    assert info == 0
    assert len(seen) == -(-solution.iterations // 10) > 1
    np.testing.assert_allclose(x, solution.x, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(seen[-1], x)
    after = rv.gmres(matrix, b, rtol=1e-8, restart=10, maxiter=10, callback=lambda at: None)
    np.testing.assert_allclose(seen[0], after.x, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::resolvent.ConvergenceWarning")
def test_gmres_tells_of_norms_after_every_iteration():
    matrix, b = convection()
    inverse = 0.01 * np.linalg.inv(matrix.toarray() + np.eye(56))
    for M in (None, inverse):
        seen = []
        options = {"rtol": 1e-6, "restart": 10, "M": M}
        _, info = called("gmres", matrix, b, callback=seen.append, callback_type="pr_norm", **options)
        assert info == 0
        for k in (1, 4, len(seen)):
            x = rv.gmres(matrix, b, **options, maxiter=k).x
            r = b - matrix @ x if M is None else M @ (b - matrix @ x)
            assert seen[k - 1] == pytest.approx(np.linalg.norm(r) / np.linalg.norm(b), rel=1e-6)


def test_gmres_counts_bases_or_iterations():
    matrix, b = convection()
    for kind, iterations in (("pr_norm", 15), ("x", 15), ("legacy", 3)):
        seen = []
        _, info = called("gmres", matrix, b, rtol=1e-12, restart=5, maxiter=3, callback=seen.append, callback_type=kind)
        assert info == 3
        assert len(seen) == (3 if kind == "x" else iterations)
    assert called("gmres", matrix, b, rtol=1e-12, restart=5, maxiter=3)[1] == 3
    assert called("gmres", matrix, b, rtol=1e-12, restart=5, maxiter=3, callback_type="legacy")[1] == 3
    assert called("gmres", matrix, b, rtol=1e-12, restart=1000, maxiter=1)[1] == 0
    with pytest.raises(rv.InputError, match="restart: found 0"):
        called("gmres", matrix, b, restart=0)
    with pytest.raises(ValueError, match="callback_type"):
        called("gmres", matrix, b, callback_type="r")


def test_gmres_warns_of_a_callback_without_its_kind():
    with pytest.warns(DeprecationWarning, match="called without specifying `callback_type`") as said:
        drop_in.gmres(A, B, callback=lambda norm: None)
    assert said[0].filename == __file__


# minres.


def test_shifts_of_entries_and_of_products():
    wanted = np.linalg.solve(A - 0.5 * np.eye(N), B)
    for matrix in (A, sparse.csr_matrix(A), sparse.coo_array(A), linalg.aslinearoperator(A)):
        x, info = called("minres", matrix, B, shift=0.5, rtol=1e-10)
        assert info == 0
        np.testing.assert_allclose(x, wanted, rtol=1e-8)


def test_minres_checks_what_it_is_asked_to():
    bent = A.copy()
    bent[0, 1] += 1e-7  # too little for products to show
    large = A + np.triu(A)
    for matrix, M in ((bent, None), (large, None), (linalg.aslinearoperator(large), None), (A, large)):
        with pytest.raises(rv.NotHermitianError):
            called("minres", matrix, B, M=M, check=True)
    for matrix in (A, linalg.aslinearoperator(A), A + 1j * np.triu(A, 1) - 1j * np.tril(A, -1)):
        assert called("minres", matrix, B, check=True, M=np.eye(N))[1] == 0


def test_minres_finds_what_misses_least_and_says_that_it_misses():
    singular, b = np.diag([2.0, -1.0, 0.0]), np.array([2.0, 3.0, 1.0])
    x, info = called("minres", singular, b)
    assert info > 0
    np.testing.assert_allclose(x, [1, -3, 0], atol=1e-7)


@pytest.mark.parametrize("name", ["minres", "lsmr"])
def test_show_writes_a_report(name, capsys):
    called(name, A, B)
    assert capsys.readouterr() == ("", "")
    called(name, A, B, show=True)
    assert "converged" in capsys.readouterr().out


# lsmr.

TALL, LEFT = RNG.standard_normal((30, 8)), RNG.standard_normal(30)


@pytest.mark.parametrize("with_x0", [False, True])
@pytest.mark.parametrize("damp", [0.0, 0.7])
def test_lsmr_returns_eight_things(damp, with_x0):
    x0 = np.linspace(0, 1, 8) if with_x0 else None
    x, istop, itn, normr, normar, norma, conda, normx = called("lsmr", TALL, LEFT, damp, 1e-12, x0=x0)
    wanted = linalg.lsmr(TALL, LEFT, damp, 1e-12, x0=x0)
    np.testing.assert_allclose(x, wanted[0], rtol=1e-8)
    assert (istop, wanted[1]) == (2, 2)
    assert abs(itn - wanted[2]) <= 1
    away = x - (0 if x0 is None else x0)
    r = LEFT - TALL @ x
    assert normr == pytest.approx(np.hypot(np.linalg.norm(r), damp * np.linalg.norm(away)))
    assert normar == pytest.approx(np.linalg.norm(TALL.T @ r - damp**2 * away), rel=1e-2, abs=1e-13)
    values = np.sqrt(np.linalg.svd(TALL)[1] ** 2 + damp**2)
    assert norma == pytest.approx(values[0], rel=1e-2)
    assert conda == pytest.approx(values[0] / values[-1], rel=1e-2)
    assert normx == pytest.approx(np.linalg.norm(x))


def test_lsmr_says_why_it_ended():
    def istop(matrix, b, **options):
        return called("lsmr", matrix, b, **options)[1]

    x = np.ones(8)
    ill = np.vander(np.linspace(0, 1, 12))
    assert (
        istop(TALL, 0 * LEFT)
        == istop(TALL, 0 * LEFT, x0=x)
        == istop(TALL, TALL @ x, x0=x)
        == istop(0 * TALL, LEFT)
        == 0
    )
    assert istop(TALL, TALL @ x) == 1
    assert istop(TALL, LEFT) == 2
    assert istop(ill, np.arange(12.0), atol=0, btol=0, conlim=1e3) == 3
    assert istop(TALL, TALL @ x, atol=0, btol=0, conlim=0, maxiter=40) == 4
    assert istop(TALL, LEFT, atol=0, btol=0, conlim=0, maxiter=40) == 5
    assert istop(TALL, LEFT, maxiter=2) == 7
    assert istop(TALL, LEFT, atol=None, btol=None, conlim=None, damp=None) == 2


def test_lsmr_takes_at_most_as_many_iterations_as_scipys():
    matrix = np.vander(np.linspace(0, 1, 30), 10)
    _, istop, itn, *_ = called("lsmr", matrix, np.cos(np.arange(30.0)), atol=1e-14, btol=1e-14, conlim=0)
    assert (istop, itn) == (7, 10)


def test_lsmr_computes_in_double_precision():
    single = TALL.astype(np.float32)
    x, *_ = called("lsmr", single, LEFT.astype(np.float32), atol=1e-12)
    assert x.dtype == np.float64
    np.testing.assert_allclose(x, np.linalg.lstsq(single.astype(float), LEFT.astype(np.float32))[0], rtol=1e-9)
    for b in (LEFT[:, None], LEFT[None], LEFT.tolist()):
        assert called("lsmr", TALL, b)[0].shape == (8,)
    with pytest.raises(ValueError, match="rmatvec"):
        called("lsmr", linalg.LinearOperator((30, 8), matvec=lambda x: TALL @ x), LEFT)
