"""The drop-in for ``cupyx.scipy.sparse.linalg``: its names and signatures, its codes, and what it takes."""

import importlib
import importlib.util
import inspect

import numpy as np
import pytest
import scipy.sparse

import resolvent as rv
import resolvent.compat.scipy as of_scipy

OURS = ("bicgstab", "cg", "gmres", "lsmr", "minres")
N = 12
RNG = np.random.default_rng(0)
FACTOR = RNG.standard_normal((N, N))
A, B = FACTOR @ FACTOR.T + N * np.eye(N), RNG.standard_normal(N)
X = np.linalg.solve(A, B)


@pytest.fixture
def ours(cupy):
    return importlib.import_module("resolvent.gpu.cupy.linalg")


@pytest.fixture
def theirs(cupy):
    return importlib.import_module("cupyx.scipy.sparse.linalg")


def test_names_and_signatures(ours, theirs):
    for name in ours.__all__:
        assert (getattr(ours, name) is getattr(theirs, name)) == (name not in OURS), name
    for name in OURS:
        assert inspect.signature(getattr(ours, name)) == inspect.signature(getattr(theirs, name))
    assert set(OURS) < set(ours.__all__) == set(dir(ours))
    with pytest.raises(AttributeError, match="nor has cupyx"):
        ours.idrs  # noqa: B018


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
def test_without_cupy_it_says_what_to_install():
    with pytest.raises(ModuleNotFoundError, match=r"needs CuPy .*install resolvent\[cuda12\]") as caught:
        importlib.import_module("resolvent.gpu.cupy.linalg")
    assert caught.value.name == "cupy"


FORMS = {
    "full": lambda cupy, linalg: cupy.asarray(A),
    "csr": lambda cupy, linalg: importlib.import_module("cupyx.scipy.sparse").csr_matrix(scipy.sparse.csr_matrix(A)),
    "integers": lambda cupy, linalg: cupy.asarray(np.rint(4 * A).astype(int)),
    "operator": lambda cupy, linalg: linalg.aslinearoperator(cupy.asarray(A)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", OURS)
def test_solves_what_it_is_given(name, form, ours, theirs, cupy):
    given = FORMS[form](cupy, theirs)
    exact = np.linalg.solve(np.rint(4 * A), B) if form == "integers" else X
    options = {"minres": {"tol": 1e-11}, "lsmr": {"atol": 1e-13, "btol": 1e-13, "maxiter": 99}}
    x, code, *_ = getattr(ours, name)(given, cupy.asarray(B[:, None]), **options.get(name, {"rtol": 1e-11}))
    assert isinstance(x, cupy.ndarray)
    assert code in ((0,) if name != "lsmr" else (1, 4))
    np.testing.assert_allclose(x.get(), exact, rtol=1e-6)


@pytest.mark.parametrize("name", ["bicgstab", "cg", "gmres", "minres"])
def test_the_answers_are_those_for_numpys_arrays(name, ours, cupy):
    M = np.diag(1 / np.diag(A))
    for options in ({"maxiter": 2}, {"M": M}, {"x0": X + 1e-3}, {"x0": "Mb", "M": M}):
        there = {key: cupy.asarray(value) if isinstance(value, np.ndarray) else value for key, value in options.items()}
        x, code = getattr(ours, name)(cupy.asarray(A), cupy.asarray(B), **there)
        if name == "gmres" and "maxiter" in options:
            assert code == 2  # iterations, where SciPy counts bases
            continue
        wanted, other = getattr(of_scipy, name)(A, B, **options)
        assert code == other
        np.testing.assert_allclose(x.get(), wanted, rtol=1e-4)


def test_cg_of_what_is_not_definite(ours, theirs, cupy):
    for form in ("full", "operator"):
        given = FORMS[form](cupy, theirs)
        shifted = cupy.asarray(A - 20 * np.eye(N)) if form == "full" else -given
        x, code = ours.cg(shifted, cupy.asarray(B), rtol=1e-9)
        assert code == 0
        np.testing.assert_allclose((shifted @ x).get(), B, atol=1e-7)


def test_minres_shifts_and_checks(ours, theirs, cupy):
    for form in ("full", "csr", "operator"):
        x, code = ours.minres(FORMS[form](cupy, theirs), cupy.asarray(B), shift=0.5, tol=1e-10)
        assert code == 0
        np.testing.assert_allclose(x.get(), np.linalg.solve(A - 0.5 * np.eye(N), B), rtol=1e-7)
    with pytest.raises(rv.NotHermitianError):
        ours.minres(cupy.asarray(np.triu(A)), cupy.asarray(B), check=True)


def test_callbacks(ours, cupy):
    given, seen = (cupy.asarray(A), cupy.asarray(B)), []
    ours.cg(*given, callback=seen.append)
    assert all(isinstance(x, cupy.ndarray) for x in seen)
    for kind in (None, "pr_norm", "x"):
        seen = []
        x, code = ours.gmres(*given, restart=3, rtol=1e-8, callback=seen.append, callback_type=kind)
        assert code == 0
        assert 2 <= len(seen) <= 10
        if kind == "x":
            np.testing.assert_array_equal(seen[-1].get(), x.get())
        else:
            assert seen[0] > seen[-1] == pytest.approx(np.linalg.norm(B - A @ x.get()) / np.linalg.norm(B), rel=0.1)
    with pytest.raises(rv.InputError, match="callback_type"):
        ours.gmres(*given, callback=seen.append, callback_type="legacy")


def test_arrays_of_the_host_are_refused(ours, cupy):
    there = cupy.asarray(A), cupy.asarray(B)
    for name in OURS:
        with pytest.raises(rv.BackendError, match=r"^b: found ndarray; wanted an array of CuPy"):
            getattr(ours, name)(there[0], B)
        with pytest.raises(rv.BackendError, match=r"^x0: found ndarray"):
            getattr(ours, name)(*there, x0=X)
        for host in (A, scipy.sparse.csr_matrix(A)):
            with pytest.raises(rv.BackendError, match=r"^A: found (ndarray|csr_matrix); wanted a matrix of CuPy"):
                getattr(ours, name)(host, there[1])
    with pytest.raises(rv.BackendError, match=r"^M: found ndarray"):
        ours.cg(*there, M=np.eye(N))


def test_large_tolerances_ask_for_nothing(ours, cupy):
    x, code = ours.cg(cupy.asarray(A), cupy.asarray(B), rtol=2.0)
    assert code == 0
    np.testing.assert_array_equal(x.get(), 0)
