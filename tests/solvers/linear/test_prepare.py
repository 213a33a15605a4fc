"""Prepared solvers: rv.solve's solutions to the last bit, entries exchanged, and one caller at a time."""

import copy
import gc
import pickle
import threading
import warnings
import weakref

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import resolvent as rv

N = 36
P = rv.gallery.poisson((6, 6)).A
V = sparse.csr_array(P + sparse.diags_array(np.linspace(0, 5, N)))
B = np.linspace(-1, 2, N)
FIELDS = ("status", "iterations", "relative_residual", "residual_norm", "method", "precision", "tolerance")


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        yield


def same(found, wanted, kept=0):
    """``kept`` products with A need not be repeated for another right-hand side."""
    assert np.isin(np.asarray(wanted.matvecs) - found.matvecs, (0, kept)).all()
    np.testing.assert_array_equal(found.x, wanted.x)
    assert found.x.dtype == wanted.x.dtype
    for name in (*FIELDS, "reason", "condition", "backward_error", "preconditioned", "smallest_eigenvalue"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)


METHODS = {
    "auto": {},
    "cg": {},
    "ssor_cg": {"omega": 1.3},
    "chebyshev": {},
    "richardson": {"omega": 0.1},
    "jacobi": {},
    "gauss_seidel": {},
    "sor": {"omega": 1.4},
    "ssor": {},
}


@pytest.mark.parametrize("backend", [None, "numpy"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("A", [P, V, V.toarray(), V.astype(np.float32), aslinearoperator(V)], ids=type)
def test_solutions_are_those_of_solve(A, method, backend):
    if isinstance(A, LinearOperator) and method not in ("auto", "cg", "chebyshev", "richardson"):
        pytest.skip("needs entries")
    given = {"method": method, "backend": backend, **METHODS[method]}
    solver = rv.prepare(A, **given)
    for _ in range(2):
        for b, options in (
            (B, {}),
            (B, {"rtol": 1e-9}),
            (0 * B, {}),
            (B, {"x0": B[::-1] / 8, "maxiter": 5}),
            (B[:, None], {"rtol": 1e-8}),
            (np.stack([B, 0 * B, B**2], -1), {"rtol": 1e-8, "x0": np.full((N, 3), 0.01)}),
            (B, {"callback": lambda progress: progress.iteration == 3}),
        ):
            # Whether an operator looks Hermitian is measured once.
            kept = 2 if method == "auto" and isinstance(A, LinearOperator) else 0
            same(solver.solve(b, **options), rv.solve(A, b, **given, **options), kept)


@pytest.mark.slow
def test_a_right_hand_side_of_another_type():
    solver = rv.prepare(V.astype(np.float32), method="cg")
    for b in (B, 1j * B, B.astype(np.float32), np.arange(N), B.astype(np.float16), B.tolist(), B.astype(np.complex64)):
        same(solver.solve(b, rtol=1e-4), rv.cg(V.astype(np.float32), b, rtol=1e-4))
    assert solver.solve(1j * B).x.dtype == np.complex128
    assert solver.solve(B.astype(np.float32)).x.dtype == np.float32
    with pytest.raises(TypeError, match=r"b: .*object"):
        solver.solve(B.astype(object))


PRECONDITIONERS = {
    "none": None,
    "ssor": rv.precondition.ssor(V, 1.2),
    "matrix": sparse.diags_array(1 / V.diagonal()),
    "operator": aslinearoperator(sparse.eye_array(N)),
}


@pytest.mark.parametrize("name", PRECONDITIONERS)
@pytest.mark.parametrize("precision", [None, "fp32", "bf16"])
def test_preconditioners_and_precisions(name, precision):
    given = {"M": PRECONDITIONERS[name], "precision": precision}
    solver = rv.prepare(V, method="cg", **given)
    for b in (B, B[::-1], B):
        same(solver.solve(b, rtol=1e-2), rv.cg(V, b, rtol=1e-2, **given))


def test_large_systems_are_prepared_too():
    """Above 4096 unknowns a matrix of few diagonals is stored by them."""
    A = rv.gallery.poisson((70, 70)).A
    b = np.random.default_rng(0).standard_normal(4900)
    solver = rv.prepare(A)
    for right in (b, b[::-1].copy()):
        same(solver.solve(right, rtol=1e-3), rv.solve(A, right, rtol=1e-3))
    same(solver.update(2 * A.data).solve(b, rtol=1e-3), rv.solve(2 * A, b, rtol=1e-3))


# Other entries ------------------------------------------------------------------------------------------------------


def shuffled():
    """V with the entries of each row in another order, and one of them in two parts."""
    rng = np.random.default_rng(0)
    indptr, indices, data = [0], [], []
    for row in range(N):
        part = np.arange(V.indptr[row], V.indptr[row + 1])
        rng.shuffle(part)
        indices += [*V.indices[part], V.indices[part[0]]]
        data += [*V.data[part], 1.0]
        data[-len(part) - 1] -= 1.0
        indptr.append(len(data))
    return sparse.csr_array((np.array(data), np.array(indices), np.array(indptr)), shape=V.shape)


def unsorted_columns():
    A = shuffled()
    return sparse.csc_array((A.data, A.indices, A.indptr), shape=A.shape)  # of a symmetric V the columns are its rows


FORMS = {
    "csr": V.copy,
    "csr shuffled": shuffled,
    "csc": V.tocsc,
    "csc shuffled": unsorted_columns,
    "coo": lambda: shuffled().tocoo(),
    "csr matrix": lambda: sparse.csr_matrix(V),
}


@pytest.mark.parametrize("name", FORMS)
def test_data_in_the_order_of_every_format(name):
    A = FORMS[name]()
    np.testing.assert_allclose(A.toarray(), V.toarray())
    data = A.data * np.linspace(1, 2, A.data.size)
    other = A.copy()
    other.data = data
    solver = rv.prepare(A, method="gauss_seidel").update(data)
    same(solver.solve(B, rtol=1e-8), rv.gauss_seidel(sparse.csr_array(other), B, rtol=1e-8))
    np.testing.assert_allclose(solver.solve(B, rtol=1e-12).x, np.linalg.solve(other.toarray(), B), rtol=1e-9)
    solver.update(data.tolist())
    solver.update((3 * data).astype(np.float32))
    assert solver.dtype == np.float32


@pytest.mark.parametrize("given", [*FORMS, "bsr", "dia", "lil", "dok"])
@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "lil"])
def test_matrices_of_one_pattern_in_every_format(given, form):
    A = FORMS[given]() if given in FORMS else V.asformat(given)
    solver = rv.prepare(A, method="cg")
    same(solver.update((2 * V).asformat(form)).solve(B, rtol=1e-9), rv.cg(2 * V, B, rtol=1e-9))


def test_a_full_matrix():
    A = V.toarray()
    solver = rv.prepare(A, method="cg")
    for other in (2 * A, np.asfortranarray(3 * A), (4 * A).tolist(), A.astype(np.float32), A * (1 + 0j)):
        same(solver.update(other).solve(B, rtol=1e-5), rv.cg(np.asarray(other), B, rtol=1e-5))
    for wrong in (V, A[:5, :5], A.ravel(), A[None], 2.0):
        with pytest.raises(rv.InputError, match="values: found"):
            solver.update(wrong)


REFUSED = [
    (V.data[:-1], rv.InputError, r"values: found shape \(\d+,\); wanted \(\d+,\), the entries"),
    (V.data[None], rv.InputError, "values: found shape"),
    (3.0, rv.InputError, r"values: found shape \(\)"),
    (None, TypeError, "values: found NoneType"),
    ("abc", TypeError, "values: found the text or path 'abc'"),
    (V.toarray(), rv.InputError, "values: found a matrix stored as dense; A is stored as csr"),
    (sparse.eye_array(N, format="csr"), rv.InputError, "the pattern is another"),
    (P + sparse.eye_array(N, k=3, format="csr"), rv.InputError, "the pattern is another"),
    (V[:5, :5], rv.InputError, "values: found shape"),
    (V.data.astype(object), TypeError, "values: dtype object"),
    (np.where(V.data == V.data[4], np.nan, V.data), rv.InputError, r"A: entry \(\d+, \d+\) is nan"),
    (np.ma.masked_equal(V.data, V.data[0]), rv.InputError, "values: entry 0 is masked"),
    (aslinearoperator(V), rv.InputError, "values: found a matrix stored as"),
]


@pytest.mark.parametrize(("values", "error", "words"), REFUSED)
def test_refused_entries_leave_the_old_ones(values, error, words):
    solver = rv.prepare(V)
    with pytest.raises(error, match=words):
        solver.update(values)
    same(solver.solve(B), rv.solve(V, B))


def test_what_only_multiplies_has_no_entries():
    solver = rv.prepare(aslinearoperator(V))
    with pytest.raises(rv.InputError, match="only multiplies"):
        solver.update(V)


def test_callables_are_called_as_they_are():
    scale = [1.0]

    def multiply(x):
        return scale[0] * (V @ x)

    multiply.shape, multiply.dtype = V.shape, V.dtype
    solver = rv.prepare(multiply, method="cg")
    first = solver.solve(B, rtol=1e-10)
    scale[0] = 4.0
    np.testing.assert_allclose(solver.solve(B, rtol=1e-10).x, first.x / 4, rtol=1e-7)


@pytest.mark.parametrize("kind", ["csr", "dense", "pattern"])
def test_what_the_caller_does_to_the_matrix_is_not_seen(kind):
    A = V.toarray() if kind == "dense" else V.copy()
    solver = rv.prepare(A)
    data = A if kind == "dense" else A.data
    if kind == "pattern":
        A.indices[:] = 0
        A.indptr[:] = 0
    data[...] = np.nan
    same(solver.solve(B), rv.solve(V.toarray() if kind == "dense" else V, B))
    own = V.toarray() if kind == "dense" else V.data.copy()
    solver.update(own)
    own[...] = np.nan
    assert solver.solve(B).converged


def test_the_callers_matrix_is_not_kept_alive():
    A = V.toarray()
    kept, solver = weakref.ref(A), rv.prepare(A)
    del A
    gc.collect()
    assert kept() is None
    assert solver.solve(B).converged


# What is refused at once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("A", "options", "error", "words"),
    [
        (np.ones((2, 3)), {}, rv.InputError, "A: found shape"),
        (np.ones((4, 3, 3)), {}, rv.InputError, "wanted a square matrix"),
        (None, {}, (rv.InputError, TypeError), "A: "),
        ("abc", {}, (rv.InputError, TypeError), "A: "),
        (np.full((3, 3), np.nan), {}, rv.InputError, r"A: entry \(0, 0\) is nan"),
        (np.eye(3), {"method": "qr"}, rv.InputError, "method: found 'qr'"),
        (np.eye(3), {"omega": 1.0}, rv.InputError, "omega: is a parameter of a method"),
        (np.eye(3), {"method": "cg", "omega": 1.0}, rv.InputError, "omega: cg has no such parameter"),
        (np.eye(3), {"backend": "fortran"}, rv.BackendError, "backend: found 'fortran'"),
    ],
)
def test_what_cannot_be_prepared(A, options, error, words):
    with pytest.raises(error, match=words):
        rv.prepare(A, **options)


def test_a_right_hand_side_that_does_not_fit():
    solver = rv.prepare(V)
    for b in (np.ones(N + 1), np.ones((1, N)), 1.0, np.where(B > 0, np.nan, B)):
        with pytest.raises(rv.InputError, match="b: "):
            solver.solve(b)
    for name, value in (("rtol", 2.0), ("maxiter", -1), ("errors", "ignore"), ("time_limit", 0.0)):
        with pytest.raises(rv.InputError, match=name):
            solver.solve(B, **{name: value})
    same(solver.solve(B), rv.solve(V, B))


def test_a_matrix_that_the_method_does_not_fit():
    with pytest.raises(rv.NotHermitianError):
        rv.prepare(np.triu(V.toarray()), method="cg").solve(B)


def test_small_matters():
    assert rv.prepare([[2.0, 1], [1, 2]]).solve([3, 3]).x == pytest.approx([1, 1])
    assert rv.prepare(np.empty((0, 0))).solve([]).x.shape == (0,)
    solver = rv.prepare(V.astype(np.float32), method="sor", omega=1.2)
    assert (solver.shape, solver.dtype, solver.method) == ((N, N), np.float32, "sor")
    assert rv.prepare(V).method == "auto"


# Many right-hand sides ----------------------------------------------------------------------------------------------


def test_bad_right_hand_sides_are_named_or_collected():
    b = np.stack([B, B, B], -1)
    b[4, 1] = np.nan
    solver = rv.prepare(V)
    with pytest.raises(rv.InputError, match=r"b: entry 4 is not finite \(system \(1,\)"):
        solver.solve(b)
    solution = solver.solve(b, errors="collect", rtol=1e-9)
    assert [status.name for status in solution.status] == ["CONVERGED", "REFUSED", "CONVERGED"]
    np.testing.assert_array_equal(solution.x[:, 0], rv.solve(V, B, rtol=1e-9).x)
    assert solver.solve(np.ones((2, 5, N, 3))).x.shape == (2, 5, N, 3)
    assert solver.solve(np.ones((N, 0))).x.shape == (N, 0)


# One at a time ------------------------------------------------------------------------------------------------------


def test_who_calls_it_in_its_own_solve_is_refused():
    solver = rv.prepare(V, method="cg")
    for inner in (lambda: solver.solve(B), lambda: solver.update(V.data)):
        with pytest.raises(rv.BusyError, match="further up in this very thread"):
            solver.solve(B, callback=lambda progress, inner=inner: inner())
    same(solver.solve(B), rv.cg(V, B))


def test_a_second_thread_is_refused_while_the_first_solves():
    solver = rv.prepare(V, method="cg")
    inside, leave, found = threading.Event(), threading.Event(), []

    def wait(progress):
        inside.set()
        leave.wait(60)

    thread = threading.Thread(target=lambda: found.append(solver.solve(B, callback=wait)))
    thread.start()
    assert inside.wait(60)
    for call in (lambda: solver.solve(B), lambda: solver.update(2 * V.data)):
        with pytest.raises(rv.BusyError, match="by another thread"):
            call()
    leave.set()
    thread.join()
    same(found[0], rv.cg(V, B))


def test_threads_in_turn_or_refused():
    """Whoever is let in gets the right answer, and never another's."""
    solver = rv.prepare(V)
    rhs = [np.random.default_rng(k).standard_normal(N) for k in range(4)]
    wanted = [rv.solve(V, b, rtol=1e-10).x for b in rhs]
    wrong, solved = [], []

    def work(k):
        for _ in range(200):
            try:
                x = solver.solve(rhs[k], rtol=1e-10).x
            except rv.BusyError:
                continue
            solved.append(k)
            if not np.array_equal(x, wanted[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert solved
    assert not wrong


def test_copies_work_on_their_own():
    solver = rv.prepare(V)
    solver.solve(B)
    for other in (pickle.loads(pickle.dumps(solver)), copy.deepcopy(solver)):
        same(other.update(2 * V.data).solve(B), rv.solve(2 * V, B))
    same(solver.solve(B), rv.solve(V, B))


# Tensors ------------------------------------------------------------------------------------------------------------


def test_tensors():
    torch = pytest.importorskip("torch")
    A, b = torch.tensor(V.toarray()), torch.tensor(B)
    wanted = rv.solve(V.toarray(), B, rtol=1e-9).x
    solver = rv.prepare(A)
    A *= torch.nan
    x = solver.solve(b, rtol=1e-9).x
    assert isinstance(x, torch.Tensor)
    np.testing.assert_array_equal(x.numpy(), wanted)
    np.testing.assert_allclose(solver.update(torch.tensor(2 * V.toarray())).solve(b, rtol=1e-9).x, wanted / 2)
    sparse_solver = rv.prepare(torch.tensor(V.toarray()).to_sparse_csr())
    np.testing.assert_allclose(sparse_solver.solve(b, rtol=1e-12).x, wanted, rtol=1e-6)
    sparse_solver.update(torch.tensor(2 * V.toarray()).to_sparse_csr())
    np.testing.assert_allclose(sparse_solver.solve(b, rtol=1e-12).x, wanted / 2, rtol=1e-6)
    with pytest.raises(rv.BackendError, match="b, x0: found numpy"):
        solver.solve(B)
    with pytest.raises(rv.BackendError, match="values: found torch"):
        rv.prepare(V).update(torch.tensor(V.data))
