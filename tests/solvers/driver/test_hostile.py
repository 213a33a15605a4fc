"""User code that writes where it should not, keeps what it got, or returns odd things: right, or refused in words."""

import importlib.util
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import resolvent as rv

N = 8
RTOL = 1e-8
# "tensors" leaves the backend of tensors to the package, which views them as NumPy's where it can.
LIBRARIES = {"numpy": "numpy", "numba": "numpy", "torch": "torch", "tensors": "torch", "array_api": "array_api_strict"}
BACKENDS = [name for name, library in LIBRARIES.items() if importlib.util.find_spec(library) is not None]
METHODS = ["cg", "chebyshev", "richardson", "refine", "flexible", "auto"]


def matrix():
    rng = np.random.default_rng(5)
    B = rng.standard_normal((N, N))
    return B @ B.T / N + 2 * np.eye(N)


def give(backend, x):
    """A copy of a NumPy array in the library of a backend."""
    if backend in ("torch", "tensors"):
        return importlib.import_module("torch").tensor(np.array(x))
    if backend == "array_api":
        return importlib.import_module("array_api_strict").asarray(np.array(x), copy=True)
    return np.array(x)


def host(x):
    return x.numpy() if hasattr(x, "numpy") else np.from_dlpack(x) if hasattr(x, "__dlpack__") else np.asarray(x)


class Code:
    """What a user may pass as A or M: a product with ``matrix`` that misbehaves in the way named."""

    def __init__(self, backend, held, way="honest"):
        self.backend, self.matrix, self.way = backend, give(backend, held), way
        self.shape, self.dtype = held.shape, self.matrix.dtype
        self.kept, self.calls = [], 0
        self.buffer = give(backend, np.zeros(held.shape[0]))

    def __call__(self, v):
        self.calls += 1
        return getattr(self, self.way)(v)

    def honest(self, v):
        return self.matrix @ v

    def clears_its_argument(self, v):
        product = self.matrix @ v
        v[:] = 0 * v
        return product

    def scales_its_argument(self, v):
        product = self.matrix @ v
        v *= 3
        return product

    def works_in_its_argument(self, v):
        v[:] = self.matrix @ v
        return v

    def unlocks_its_argument(self, v):
        product = self.matrix @ v
        if isinstance(v, np.ndarray):
            v.setflags(write=True)
        v[:] = 0 * v
        return product

    def clears_earlier_arguments(self, v):
        for kept in self.kept:
            kept[:] = 0 * kept
        self.kept.append(v)
        return self.matrix @ v

    def clears_earlier_products(self, v):
        for kept in self.kept:
            kept[:] = 0 * kept
        product = self.matrix @ v
        self.kept.append(product)
        return product

    def returns_its_buffer(self, v):
        self.buffer[:] = self.matrix @ v
        return self.buffer

    def returns_a_column(self, v):
        return (self.matrix @ v)[:, None]

    def returns_one_too_many(self, v):
        return give(self.backend, np.append(host(self.matrix @ v), 0.0))

    def returns_a_number(self, v):
        return give(self.backend, host(self.matrix @ v)[0])

    def returns_a_list(self, v):
        return host(self.matrix @ v).tolist()

    def returns_strings(self, v):
        return [str(entry) for entry in host(self.matrix @ v).tolist()]

    def returns_a_matrix(self, v):
        return np.asmatrix(host(self.matrix @ v))

    def returns_masked(self, v):
        return np.ma.masked_less(host(self.matrix @ v), np.inf)

    def returns_nothing(self, v):
        return None

    def returns_nan(self, v):
        return give(self.backend, np.full(self.shape[0], np.nan))

    def returns_single(self, v):
        return give(self.backend, host(self.matrix @ v).astype(np.float32))

    def returns_whole_numbers(self, v):
        return give(self.backend, np.rint(host(self.matrix @ v)).astype(np.int64))

    def returns_complex(self, v):
        return give(self.backend, host(self.matrix @ v) + 0.5j)

    def forgets_at_times(self, v):
        return (self.matrix @ v) * (0.0 if self.calls % 7 == 0 else 1.0)

    def is_noisy(self, v):
        return (self.matrix @ v) * (1 + 1e-3 * (-1.0) ** self.calls)


HONEST = [
    "honest",
    "clears_its_argument",
    "scales_its_argument",
    "works_in_its_argument",
    "clears_earlier_arguments",
    "clears_earlier_products",
    "returns_its_buffer",
    "returns_a_column",
]


def solve(method, A, b, backend, **options):
    """``Solution``, or None where what came was refused in words."""
    options = {"backend": None if backend == "tensors" else backend, "rtol": RTOL, "maxiter": 200, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        if method == "refine":
            return rv.refine(A, b, **{"inner_precision": "fp32", "maxiter": 20, **options, "backward_error": 0.0})
        if method == "flexible":
            return rv.cg(A, b, flexible=True, **options)
        return rv.solve(A, b, method=method, **options)


def relative_residual(solution, b, scale=1.0):
    """With the honest matrix, of a solution for ``scale * b``."""
    x = host(solution.x) / scale
    return np.linalg.norm(b - matrix() @ x) / np.linalg.norm(b)


def is_true(solution, b):
    return relative_residual(solution, b) <= RTOL * (1 + 1e-6) + 1e-14


b = np.linspace(-1, 2, N)


@pytest.mark.parametrize("way", [way for way in HONEST if "earlier" not in way])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_operator_that_writes_into_what_it_got(backend, method, way):
    A = Code(backend, matrix(), way)
    if backend in ("numpy", "numba") and "its_argument" in way:
        with pytest.raises(ValueError, match="read-only"):
            solve(method, A, give(backend, b), backend)
        return
    solution = solve(method, A, give(backend, b), backend)
    assert solution.converged
    assert is_true(solution, b)


@pytest.mark.parametrize("way", ["clears_earlier_arguments", "clears_earlier_products"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_operator_that_keeps_vectors_and_writes_there_later(backend, method, way):
    A = Code(backend, matrix(), way)
    if backend in ("numpy", "numba") and way == "clears_earlier_arguments":
        with pytest.raises(ValueError, match="read-only"):
            solve(method, A, give(backend, b), backend)
        return
    solution = solve(method, A, give(backend, b), backend)
    assert solution.converged
    assert is_true(solution, b)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_view_for_reading_cannot_be_unlocked(backend, method):
    with pytest.raises(ValueError, match="WRITEABLE"):
        solve(method, Code(backend, matrix(), "unlocks_its_argument"), b, backend)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_operator_that_returns_its_argument(backend, method):
    class Identity:
        shape, dtype = (N, N), give(backend, b).dtype

        def __call__(self, v):
            return v

    solution = solve(method, Identity(), give(backend, b), backend)
    assert solution.converged
    np.testing.assert_allclose(host(solution.x), b, rtol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_operator_that_returns_a_view_of_its_argument(backend):
    class Reversal:
        shape, dtype = (N, N), give(backend, b).dtype

        def __call__(self, v):
            return importlib.import_module("torch").flip(v, (0,)) if LIBRARIES[backend] == "torch" else v[::-1]

    symmetric = b + b[::-1]
    solution = solve("cg", Reversal(), give(backend, symmetric), backend)
    assert solution.converged
    np.testing.assert_allclose(host(solution.x), symmetric, rtol=1e-12)


REFUSED = {
    "returns_one_too_many": "A: its product with a vector of shape .* has shape",
    "returns_a_number": "A: its product with a vector of shape .* has shape",
    "returns_strings": "A: its product is a list",
    "returns_nothing": "A: its product is a NoneType",
    "returns_single": "A: its product with a vector of float64 is float32, whose digits",
    "returns_whole_numbers": "A: its product with a vector of float64 is int64, whose digits",
    "returns_complex": "A: its product with a vector of float64 is complex128; wanted real numbers",
}


@pytest.mark.parametrize("way", REFUSED)
@pytest.mark.parametrize("method", ["cg", "refine"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_products_that_are_refused(backend, method, way):
    options = {"inner_precision": "fp64"} if method == "refine" else {}
    with pytest.raises((ValueError, TypeError), match=REFUSED[way]):
        solve(method, Code(backend, matrix(), way), give(backend, b), backend, **options)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_products_that_numpy_reads(backend):
    for way in ("returns_a_list", "returns_a_matrix"):
        solution = solve("cg", Code(backend, matrix(), way), b, backend)
        assert solution.converged
        assert is_true(solution, b)
    with pytest.raises(rv.InputError, match="the product with A: entry 0 is masked"):
        solve("cg", Code(backend, matrix(), "returns_masked"), b, backend)


def test_a_product_in_the_precision_of_a_single_system():
    A = Code("numpy", matrix(), "returns_single")
    A.dtype = np.float32
    single = b.astype(np.float32)
    assert rv.cg(A, single).converged
    with pytest.raises(rv.InputError, match="pass A, b and x0 in float32"):
        rv.cg(A, b)


# Operators and preconditioners of the user's own classes ------------------------------------------------------------


class Own(rv.Operator):
    kind = "own"

    def __init__(self, code, exponent=0):
        self.code, self.exponent, self.shape = code, exponent, code.shape
        self.library = {"numba": "numpy", "tensors": "torch"}.get(code.backend, code.backend)
        self.dtype = np.dtype(np.float64)

    @property
    def explicit(self):
        return False

    def matvec(self, x):
        return self.code(x) * 2.0**self.exponent

    def rescaled(self, exponent):
        return Own(self.code, self.exponent + exponent)

    def astype(self, dtype):
        return self


@pytest.mark.parametrize("way", HONEST[1:])
@pytest.mark.parametrize("backend", BACKENDS)
def test_subclasses_of_operator_are_guarded(backend, way):
    A = Own(Code(backend, matrix(), way))
    if backend in ("numpy", "numba") and "argument" in way:
        with pytest.raises(ValueError, match="read-only"):
            solve("cg", A, give(backend, b), backend)
        return
    solution = solve("cg", A, give(backend, b), backend)
    assert solution.converged
    assert is_true(solution, b)


@pytest.mark.parametrize("way", ["returns_one_too_many", "returns_complex", "returns_single"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_products_of_subclasses_of_operator_are_refused(backend, way):
    with pytest.raises(rv.InputError, match=REFUSED[way]):
        solve("cg", Own(Code(backend, matrix(), way)), give(backend, b), backend)


@pytest.mark.parametrize("way", HONEST[1:])
@pytest.mark.parametrize("method", ["cg", "flexible", "chebyshev", "richardson", "refine"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_preconditioner_that_writes_where_it_should_not(backend, method, way):
    A, M = give(backend, matrix()), Code(backend, np.linalg.inv(matrix() + 0.1 * np.eye(N)), way)
    if backend in ("numpy", "numba") and "argument" in way and method != "refine":
        with pytest.raises(ValueError, match="read-only"):
            solve(method, A, give(backend, b), backend, M=M)
        return
    solution = solve(method, A, give(backend, b), backend, M=M)
    assert solution.converged
    assert is_true(solution, b)


@pytest.mark.parametrize("way", [way for way in REFUSED if way not in ("returns_single", "returns_whole_numbers")])
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_preconditioner_may_not_return(backend, way):
    with pytest.raises((ValueError, TypeError), match=REFUSED[way].replace("A:", "M:")):
        solve("cg", give(backend, matrix()), give(backend, b), backend, M=Code(backend, np.eye(N), way))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_preconditioner_may_be_of_fewer_digits(backend):
    M = Code(backend, np.linalg.inv(matrix()), "returns_single")
    solution = solve("cg", give(backend, matrix()), give(backend, b), backend, M=M, rtol=1e-13)
    assert solution.converged
    assert solution.x.dtype == give(backend, b).dtype
    assert relative_residual(solution, b) <= 1.1e-13


class Bound(rv.precondition.BoundPreconditioner):
    """Writes to both vectors it gets, now and at the next application."""

    def __init__(self, returns):
        self.returns, self.kept = returns, []

    def apply(self, r, out):
        for kept in self.kept:
            kept[:] = 0 * kept
        self.kept.append(out)
        product = 0.5 * r
        if self.returns == "another":
            out[:] = 0 * r
            return product
        out[:] = product
        return out


class OwnPreconditioner(rv.precondition.Preconditioner):
    shape, dtype = (N, N), np.dtype(np.float64)

    def __init__(self, bound):
        self.bound = bound

    def bind(self, backend, dtype):
        return self.bound


@pytest.mark.parametrize("returns", ["out", "another"])
@pytest.mark.parametrize("method", ["cg", "chebyshev"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_subclasses_of_bound_preconditioner_are_guarded(backend, method, returns):
    M = OwnPreconditioner(Bound(returns))
    solution = solve(method, give(backend, matrix()), give(backend, b), backend, M=M)
    plain = solve(method, give(backend, matrix()), give(backend, b), backend)
    assert solution.converged
    assert is_true(solution, b)
    assert solution.iterations == plain.iterations


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_an_inverse_diagonal_of_another_shape_is_refused(backend):
    bound = Bound("out")
    bound.inverse_diagonal = np.ones(1)
    with pytest.raises(rv.InputError, match="M: its product with a vector of shape"):
        solve("cg", matrix(), b, backend, M=OwnPreconditioner(bound))


# Callbacks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS[:-1])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_callback_cannot_change_the_iterate(backend, method):
    seen = []

    def callback(progress):
        seen.append(progress)
        progress.x[:] = 0 * progress.x

    A, right = give(backend, 1e3 * matrix()), give(backend, 1e5 * b)
    solution = solve(method, A, right, backend, callback=callback)
    assert solution.converged
    np.testing.assert_array_equal(
        host(solution.x), host(solve(method, A, right, backend, callback=lambda told: None).x)
    )
    with pytest.raises(rv.InputError, match="while the callback runs"):
        _ = seen[0].x


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_callback_cannot_change_the_right_hand_side(backend):
    right = give(backend, b)

    def callback(progress):
        right[:] = 0 * right

    solution = solve("cg", give(backend, matrix()), right, backend, callback=callback)
    assert solution.converged
    assert is_true(solution, b)


# Masked arrays ------------------------------------------------------------------------------------------------------

MASKED = np.ma.array(b, mask=np.arange(N) == 2)


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda: rv.cg(np.ma.array(matrix(), mask=np.eye(N, k=1) > 0), b), r"A: entry \(0, 1\) is masked"),
        (lambda: rv.cg(matrix(), MASKED), "b: entry 2 is masked"),
        (lambda: rv.cg(matrix(), b, x0=MASKED), "x0: entry 2 is masked"),
        (lambda: rv.cg(matrix(), b, M=np.ma.array(np.eye(N), mask=np.eye(N) > 0)), r"M: entry \(0, 0\) is masked"),
        (lambda: rv.cg(matrix(), np.ma.array(np.ones((N, 2)), mask=np.eye(N, 2) > 0)), r"b: entry \(0, 0\) is masked"),
        (lambda: rv.refine(matrix(), MASKED), "b: entry 2 is masked"),
        (lambda: rv.precondition.jacobi(matrix()) @ MASKED, "r: entry 2 is masked"),
    ],
)
def test_masked_entries_are_refused(call, found):
    with pytest.raises(rv.InputError, match=found):
        call()


def test_masks_that_hide_nothing_are_taken():
    solution = rv.cg(np.ma.array(matrix(), mask=False), np.ma.array(b), rtol=RTOL)
    assert type(solution.x) is np.ndarray
    assert is_true(solution, b)


# Products that vary -------------------------------------------------------------------------------------------------


class Varying(Code):
    """Products with the matrix, but for one of them."""

    def __init__(self, backend, lie, at=None):
        super().__init__(backend, matrix())
        self.lie, self.at = lie, at
        # Half of b: systems are iterated on in units in which the largest entry of b lies in [1, 2).
        self.right = give(backend, b / 2)

    def __call__(self, v):
        self.calls += 1
        honest = self.matrix @ v
        if self.calls != self.at or honest.dtype != self.right.dtype:
            return honest
        lies = {"zero": 0 * honest, "b": 1 * self.right, "double": 2 * honest, "sign": -honest, "noise": 1.001 * honest}
        return lies[self.lie]


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_lucky_product_certifies_nothing(backend):
    A = Varying(backend, "b")

    def callback(progress):
        if progress.iteration == 3:
            A.at = A.calls + 1  # the product by which the iterate is judged: b - A x comes out as zero
            return True
        return False

    solution = solve("cg", A, give(backend, b), backend, callback=callback)
    assert solution.status is rv.Status.STOPPED
    assert solution.relative_residual == pytest.approx(relative_residual(solution, b), rel=1e-8)


# Any of this with any method and backend ----------------------------------------------------------------------------


WAYS = [way for way in vars(Code) if not way.startswith("_")]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    backend=st.sampled_from(BACKENDS),
    method=st.sampled_from([*METHODS, "jacobi", "ssor_cg"]),
    way=st.sampled_from(WAYS),
    as_what=st.sampled_from(["callable", "Operator"]),
    M_way=st.sampled_from([None, *WAYS]),
    precision=st.sampled_from([None, None, "fp32", "bf16"]),
    scale=st.sampled_from([1.0, 2.0**-660, 2.0**660]),
    rtol=st.sampled_from([1e-3, 1e-8]),
    maxiter=st.sampled_from([3, 60]),
    stops=st.booleans(),
)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_converged_is_the_truth(backend, method, way, as_what, M_way, precision, scale, rtol, maxiter, stops):
    code = Code(backend, matrix(), way)
    A = Own(code) if as_what == "Operator" else code
    held = give(backend, matrix()) if method in ("jacobi", "ssor_cg") else A
    options = {"rtol": rtol, "maxiter": maxiter}
    if M_way is not None and method not in ("jacobi", "ssor_cg"):
        options["M"] = Code(backend, np.linalg.inv(matrix() + 0.1 * np.eye(N)), M_way)
    if precision is not None and method != "refine":
        options["precision"] = precision
    if stops:
        options["callback"] = lambda progress: progress.iteration >= 2
    right = give(backend, scale * b)
    try:
        solution = solve(method, held, right, backend, **options)
    except (ValueError, TypeError):
        return  # refused; in which words, the tests above look at
    if solution.converged:
        known = 1e-3 if way == "is_noisy" else 0.0  # no better than its products
        assert relative_residual(solution, b, scale) <= rtol * (1 + 1e-6) + 1.01 * known
    elif way in HONEST:
        assert solution.relative_residual == pytest.approx(relative_residual(solution, b, scale), rel=1e-4, abs=1e-12)


@settings(max_examples=100)
@example(backend="numpy", method="refine", lie="b", at=14)
@given(
    backend=st.sampled_from(BACKENDS),
    method=st.sampled_from(METHODS),
    lie=st.sampled_from(["zero", "b", "double", "sign", "noise"]),
    at=st.integers(1, 50),
)
def test_no_single_product_makes_a_false_certificate(backend, method, lie, at):
    solution = solve(method, Varying(backend, lie, at), give(backend, b), backend)
    if solution.converged:
        assert is_true(solution, b)
