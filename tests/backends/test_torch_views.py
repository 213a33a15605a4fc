"""Tensors of the CPU on the Numba backend: its numbers bit for bit, no copies, and tensors for the caller."""

import numpy as np
import pytest

import resolvent as rv
from resolvent.backends import backend_named, choose_backend
from resolvent.gallery import heat_sequence
from resolvent.solvers.preconditioners.base import BoundPreconditioner, Preconditioner

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore:Sparse:UserWarning")

DTYPES = [
    torch.float64,
    torch.complex128,
    *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in (torch.float32, torch.complex64)),
]
N = 24


def system(dtype=torch.float64, n=N):
    """Hermitian positive definite and diagonally dominant, its diagonal varied."""
    generator = torch.Generator().manual_seed(3)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    B = torch.randn(n, n, dtype=wide, generator=generator) / n
    A = B + B.mH + torch.diag(torch.linspace(2, 5, n, dtype=torch.float64)).to(wide)
    A = torch.where(A.abs() > 0.02, A, 0)
    return A.to(dtype), torch.randn(n, dtype=wide, generator=generator).to(dtype)


def as_numpy(A):
    """The same entries as NumPy or SciPy holds them."""
    if A.layout == torch.strided:
        return A.numpy()
    import scipy.sparse as sparse

    parts = (A.values().numpy(), A.col_indices().numpy(), A.crow_indices().numpy())
    return sparse.csr_array(parts, shape=tuple(A.shape))


@pytest.mark.parametrize("method", rv.METHODS)
@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_numbers_are_those_of_the_numba_backend(method, layout, dtype):
    A, b = system(dtype)
    A = A if layout == "dense" else A.to_sparse_csr()
    found = rv.solve(A, b, method=method, rtol=1e-4, x0=0.1 * b)
    wanted = rv.solve(as_numpy(A), b.numpy(), method=method, rtol=1e-4, x0=0.1 * b.numpy())
    assert wanted.converged
    assert (found.backend, wanted.backend) == ("numba", "numba")
    assert found.x.dtype == dtype
    np.testing.assert_array_equal(found.x.numpy(), wanted.x)
    np.testing.assert_array_equal(found.residual_norms, wanted.residual_norms)
    assert found.iterations == wanted.iterations > 0


@pytest.mark.parametrize("name", ["jacobi", "ssor", "polynomial"])
@pytest.mark.parametrize("precision", [None, "bf16"])
def test_preconditioned_numbers_are_those_of_the_numba_backend(name, precision):
    A, b = system()
    make = getattr(rv.precondition, name)
    given = {"rtol": 1e-2, "precision": precision}
    found = rv.cg(A, b, M=make(A), **given)
    wanted = rv.cg(A.numpy(), b.numpy(), M=make(A.numpy()), **given)
    assert wanted.converged
    np.testing.assert_array_equal(found.x.numpy(), wanted.x)
    product = make(A) @ b
    assert isinstance(product, torch.Tensor)
    np.testing.assert_array_equal(product.numpy(), make(A.numpy()) @ b.numpy())


def test_many_bands_at_once():
    """Above 4096 rows bands are multiplied, of which nothing but the entries tells."""
    problem = rv.gallery.poisson((80, 80))
    matrix = problem.A.tocsr()
    A = torch.sparse_csr_tensor(
        torch.from_numpy(matrix.indptr), torch.from_numpy(matrix.indices), torch.from_numpy(matrix.data), matrix.shape
    )
    found = rv.cg(A, torch.from_numpy(problem.b), rtol=1e-8)
    wanted = rv.cg(matrix, problem.b, rtol=1e-8)
    np.testing.assert_array_equal(found.x.numpy(), wanted.x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_copied(dtype):
    A, b = system(dtype)
    backend = choose_backend(None, A, b)
    assert np.shares_memory(backend.operator(A).matrix, A.numpy())
    assert np.shares_memory(backend.operator(A.T).matrix, A.numpy())
    strided = torch.zeros(N, 2, dtype=dtype)[:, 1]
    assert np.shares_memory(backend.vector(strided, "b"), strided.numpy())
    sparse = A.to_sparse_csr()
    operator = backend.operator(sparse)
    for part, tensor in (
        (operator.data, sparse.values()),
        (operator.indices, sparse.col_indices()),
        (operator.indptr, sparse.crow_indices()),
    ):
        assert np.shares_memory(part, tensor.numpy())
    x = backend.zeros(3, "float64")
    assert np.shares_memory(backend.returned(x).numpy(), x)


def test_the_callers_tensors_are_not_written_to():
    A, b = system()
    x0, kept = torch.ones(N, dtype=torch.float64), (A.clone(), b.clone())
    x = rv.cg(A, b, x0=x0, rtol=1e-10).x
    x.add_(1)
    assert torch.equal(A, kept[0])
    assert torch.equal(b, kept[1])
    assert torch.equal(x0, torch.ones_like(x0))


def test_what_cannot_be_viewed_is_converted():
    A, _ = system(torch.complex128)
    backend = choose_backend(None, A)
    for given in (A.conj(), A.mH, torch._neg_view(A), A.clone().requires_grad_()):
        np.testing.assert_array_equal(
            backend.operator(given).matrix, given.detach().resolve_conj().resolve_neg().numpy()
        )
    real, right = system()
    for half in (torch.float16, torch.bfloat16):
        solution = rv.cg(real.to(half), right.to(half), rtol=1e-5)
        wanted = rv.cg(real.to(half).float().numpy(), right.to(half).float().numpy(), rtol=1e-5)
        assert (solution.backend, solution.x.dtype) == ("numba", torch.float32)
        np.testing.assert_array_equal(solution.x.numpy(), wanted.x)
    integers = rv.cg(torch.tensor([[4, 1], [1, 3]]), torch.tensor([1, 2], dtype=torch.int8), rtol=1e-12)
    assert integers.x.dtype == torch.float64
    torch.testing.assert_close(integers.x, torch.tensor([1 / 11, 7 / 11], dtype=torch.float64))


def test_shapes_come_back_as_they_were_given():
    A, b = system()
    assert rv.cg(A, b[:, None]).x.shape == (N, 1)
    columns = rv.cg(A, torch.stack([b, 2 * b], -1), rtol=1e-10)
    assert isinstance(columns.x, torch.Tensor)
    assert columns.x.shape == (N, 2)
    torch.testing.assert_close(A @ columns.x, torch.stack([b, 2 * b], -1))
    batch = rv.cg(torch.stack([A, 3 * A]), torch.stack([b, b]), rtol=1e-10)
    assert batch.x.shape == (2, N)
    torch.testing.assert_close(batch.x[1], batch.x[0] / 3)


def test_units_that_leave_the_range():
    A, b = system()
    with pytest.warns(rv.ConvergenceWarning, match="leaves the range"):
        solution = rv.cg(1e-200 * A, 1e200 * b)
    assert solution.status.name == "OVERFLOW"
    assert isinstance(solution.x, torch.Tensor)


class Multiplies:
    shape, dtype = (N, N), torch.float64

    def __init__(self, matrix):
        self.matrix, self.seen = matrix, []

    def __call__(self, x):
        self.seen.append(x)
        return self.matrix @ x


def test_callables_are_lent_tensors():
    A, b = system()
    weight = torch.nn.Parameter(A.clone())
    operator, M = Multiplies(weight), Multiplies(torch.linalg.inv(A + 0.1 * torch.eye(N)))
    for given in ({}, {"precision": "fp32"}):
        solution = rv.cg(operator, b, M=M, rtol=1e-6, **given)
        assert solution.converged
        assert solution.backend == "numba"
        assert not solution.x.requires_grad
    assert all(type(x) is torch.Tensor and x.dtype == torch.float64 for x in operator.seen)
    assert all(type(x) is torch.Tensor for x in M.seen)
    seen = [x.clone() for x in operator.seen]
    assert all(map(torch.equal, operator.seen, seen))
    linear = torch.nn.Linear(N, N, bias=False, dtype=torch.float64)
    linear.weight.data.copy_(A)
    linear.shape, linear.dtype = (N, N), torch.float64
    torch.testing.assert_close(rv.cg(linear, b, rtol=1e-12).x, torch.linalg.solve(A, b))


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_products_of_too_few_digits_are_refused(half, backend):
    A, b = system()

    class Half(Multiplies):
        def __call__(self, x):
            return super().__call__(x).to(half)

    for right in (b, b.float()):
        operator = Half(A.to(right.dtype))
        operator.dtype = right.dtype
        with pytest.raises(rv.InputError, match="float16, whose digits cannot tell"):
            rv.cg(operator, right, backend=backend)
        M = Half(torch.linalg.inv(A).to(right.dtype))
        M.dtype = right.dtype
        assert rv.cg(A.to(right.dtype), right, M=M, backend=backend, rtol=1e-5).converged


def test_callbacks_are_told_in_tensors():
    A, b = system()
    told = []
    solution = rv.cg(A, b[:, None], rtol=1e-8, callback=lambda progress: told.append(progress.x))
    assert all(isinstance(x, torch.Tensor) and x.shape == (N, 1) for x in told)
    assert torch.equal(told[-1], solution.x)
    assert len(told) == solution.iterations


@pytest.mark.parametrize("asked", [None, "numba", "torch"])
@pytest.mark.parametrize("made", [None, "numba", "torch"])
@pytest.mark.parametrize("name", ["jacobi", "ssor", "polynomial"])
def test_preconditioners_of_tensors_serve_on_either_backend(asked, made, name):
    A, b = system()
    M = getattr(rv.precondition, name)(A, backend=made)
    solution = rv.cg(A, b, M=M, rtol=1e-10, backend=asked)
    assert solution.backend == (asked or "numba")
    assert isinstance(solution.x, torch.Tensor)
    torch.testing.assert_close(solution.x, torch.linalg.solve(A, b))
    assert isinstance(M @ b, torch.Tensor)


class Jacobi(Preconditioner):
    """A preconditioner that is written in torch's operations."""

    def __init__(self, A):
        self.inverse, self.shape, self.dtype = 1 / A.diagonal(), tuple(A.shape), np.dtype("float64")

    def bind(self, backend, dtype):
        return Bound(self.inverse)


class Bound(BoundPreconditioner):
    def __init__(self, inverse):
        self.inverse = inverse

    def apply(self, r, out):
        return torch.mul(self.inverse, r, out=out)


def test_what_is_written_for_the_torch_backend_stays_there():
    from resolvent.backends.torch_matrices import TorchDense

    A, b = system()

    class Matrix(TorchDense):
        def matvec(self, x):
            return torch.mv(self.matrix, x)

    class Tensor(torch.Tensor):
        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
            def plain(x):
                return x.as_subclass(torch.Tensor) if isinstance(x, cls) else x

            return function(*map(plain, args), **{name: plain(x) for name, x in (kwargs or {}).items()})

    wanted = torch.linalg.solve(A, b)
    solution = rv.cg(A, b, M=Jacobi(A), rtol=1e-12)
    assert solution.backend == "torch"
    torch.testing.assert_close(solution.x, wanted)
    with pytest.raises(rv.BackendError, match="'numba' works on plain tensors of the CPU"):
        rv.cg(A, b, M=Jacobi(A), backend="numba")
    assert choose_backend(None, Tensor(A), b).name == "torch"
    assert choose_backend(None, A.to("meta")).name == "torch"
    assert rv.cg(A, b, backend="torch").backend == "torch"
    assert rv.cg(backend_named("torch").operator(A), b).backend == "numba"


def test_libraries_are_not_mixed():
    A, b = system()
    with pytest.raises(rv.BackendError, match="M: found ndarray"):
        rv.cg(A, b, M=A.numpy())
    with pytest.raises(rv.BackendError, match="'numpy' works on numpy arrays"):
        rv.cg(A, b, backend="numpy")
    with pytest.raises(TypeError, match="b: dtype torch"):
        rv.cg(A, b.to(torch.float8_e5m2), backend="numba")


def test_refinement():
    A, b = system()
    for M in (None, rv.precondition.jacobi(A), torch.diag(1 / A.diagonal()), Multiplies(torch.diag(1 / A.diagonal()))):
        found = rv.refine(A, b, M=M, inner_precision="bf16")
        assert isinstance(found.x, torch.Tensor)
        assert found.backward_error < 4e-16
    wanted = rv.refine(A.numpy(), b.numpy(), inner_precision="bf16")
    np.testing.assert_array_equal(rv.refine(A, b, inner_precision="bf16").x.numpy(), wanted.x)


def test_condition_numbers():
    A, _ = system()
    for method in ("exact", "lanczos"):
        found, wanted = (rv.condition_number(given, method=method) for given in (A, A.numpy()))
        assert (found.estimate, found.lower, found.upper) == (wanted.estimate, wanted.lower, wanted.upper)


@pytest.mark.parametrize("warm_start", [None, "previous", "extrapolate", "subspace"])
def test_a_sequence_of_tensors_is_that_of_arrays(warm_start):
    tensors, arrays = (rv.Sequence("ssor_cg", rtol=1e-8, warm_start=warm_start) for _ in range(2))
    for problem in heat_sequence(8, 12):
        A = problem.A.toarray()
        found = tensors.solve(torch.from_numpy(A), torch.from_numpy(problem.b))
        assert isinstance(found.x, torch.Tensor)
        np.testing.assert_array_equal(found.x.numpy(), arrays.solve(A, problem.b).x)
    assert tensors.history.iterations == arrays.history.iterations
