"""What is torch's own: layouts, precisions, devices, graphs; the operations are held to NumPy in test_primitives."""

import subprocess
import sys

import numpy as np
import pytest

import resolvent as rv
from resolvent.backends import backend_named

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore:Sparse:UserWarning")


def system(dtype=torch.float64, n=12):
    generator = torch.Generator().manual_seed(3)
    B = torch.randn(n, n, dtype=torch.float64, generator=generator)
    A = (B @ B.T / n + 2 * torch.eye(n, dtype=torch.float64)).to(dtype)
    return A, torch.randn(n, dtype=torch.float64, generator=generator).to(dtype)


@pytest.fixture(params=["torch", "numba"])
def on(request):
    """The backends that take tensors of the CPU."""
    return request.param


def assert_solves(solution, A, b, rtol=1e-9):
    assert solution.converged
    wanted = torch.linalg.solve(A.detach(), b.detach())
    torch.testing.assert_close(solution.x.to(wanted.dtype), wanted, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("layout", ["csr", "coo", "csc", "bsr", "bsc", "coo twice"])
def test_sparse_layouts(layout, on):
    A, b = system()
    if layout == "coo twice":
        half = (A / 2).to_sparse_coo()
        indices, values = torch.cat([half.indices()] * 2, 1), torch.cat([half.values()] * 2)
        given = torch.sparse_coo_tensor(indices, values, A.shape)
    elif layout in ("bsr", "bsc"):
        given = getattr(A, f"to_sparse_{layout}")((3, 3))
    else:
        given = getattr(A, f"to_sparse_{layout}")()
    operator = backend_named("torch").operator(given)
    assert operator.kind == "csr"
    torch.testing.assert_close(operator.matrix.to_dense(), A)
    assert_solves(rv.cg(given, b, rtol=1e-12, backend=on), A, b)


def test_columns_out_of_order_are_sorted_in_a_copy():
    starts, columns = torch.tensor([0, 2, 4, 6]), torch.tensor([1, 0, 1, 2, 2, 2])
    values = torch.tensor([-1.0, 4, 5, -1, 3, 3], dtype=torch.float64)
    given = torch.sparse_csr_tensor(starts, columns, values, (3, 3), check_invariants=False)
    operator = backend_named("torch").operator(given)
    assert operator.matrix.col_indices().tolist() == [0, 1, 1, 2, 2]
    assert operator.matrix.values().tolist() == [4, -1, 5, -1, 6]
    assert given.col_indices().tolist() == [1, 0, 1, 2, 2, 2]


@pytest.mark.slow
def test_indices_of_32_bits_are_kept():
    A, b = system()
    wide = A.to_sparse_csr()
    narrow = torch.sparse_csr_tensor(wide.crow_indices().int(), wide.col_indices().int(), wide.values(), A.shape)
    assert backend_named("torch").operator(narrow).matrix.col_indices().dtype == torch.int32
    for method in rv.METHODS:
        assert rv.solve(narrow, b, method=method, maxiter=5000).converged


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sparse", [False, True])
def test_half_precision_is_carried_in_single(dtype, sparse, on):
    A, b = system(dtype)
    solution = rv.cg(A.to_sparse_csr() if sparse else A, b, rtol=1e-6, backend=on)
    assert solution.x.dtype == torch.float32
    assert solution.precision == "float32"
    assert_solves(solution, A.double(), b.double(), 1e-5)


def test_integers_are_carried_in_double(on):
    A, b = torch.tensor([[4, 1], [1, 3]]), torch.tensor([1, 2], dtype=torch.int8)
    solution = rv.cg(A, b, rtol=1e-12, backend=on)
    assert solution.x.dtype == torch.float64
    assert_solves(solution, A.double(), b.double())


def test_what_is_no_working_precision_is_refused(on):
    A, b = system()
    with pytest.raises(TypeError, match="b: dtype torch"):
        rv.cg(A, b.to(torch.float8_e5m2), backend=on)
    with pytest.raises(TypeError, match="A: dtype torch"):
        rv.cg(A.to(torch.float8_e5m2), b, backend=on)
    with pytest.raises(rv.BackendError, match="layout"):
        rv.cg(A, b.to_sparse_coo(), backend=on)


def test_no_graph_is_built(on):
    A, b = system()
    weight = torch.nn.Parameter(A.clone())
    saved = []

    class Layer:
        shape, dtype = A.shape, torch.float64

        def __call__(self, x):
            saved.append(torch.is_grad_enabled())
            return weight @ x

    for given in (weight, Layer()):
        solution = rv.cg(given, b.clone().requires_grad_(), rtol=1e-12, backend=on)
        assert not solution.x.requires_grad
        assert_solves(solution, A, b)
    assert not any(saved)
    assert torch.is_grad_enabled()
    assert weight.grad is None


def test_inference_tensors_are_left_alone(on):
    with torch.inference_mode():
        A, b = system()
        held = b.clone()
        assert_solves(rv.cg(A, b, rtol=1e-12, backend=on), A, b)
        assert torch.equal(b, held)


def test_lazy_conjugates_and_views(on):
    A, b = system(torch.complex128)
    A = A + 0.3j * (torch.triu(A, 1) - torch.tril(A, -1))
    for given, vector in (
        (A.mH, b.conj()),
        (A.mT.conj(), -b.conj().imag + 0j),
        (A[:, :], torch.stack([b, b], 1)[:, 0]),
    ):
        assert_solves(rv.cg(given, vector, rtol=1e-12, backend=on), given.resolve_conj(), vector.resolve_conj())
    large = torch.zeros(24, 24, dtype=torch.complex128)
    large[::2, ::2] = A
    assert_solves(rv.cg(large[::2, ::2], b, rtol=1e-12, backend=on), A, b)


def test_defaults_of_torch_do_not_matter(on):
    A, b = system()
    plain = rv.chebyshev(A, b, rtol=1e-10, backend=on)
    torch.set_default_dtype(torch.bfloat16)
    torch.set_default_device("meta")
    try:
        found = rv.chebyshev(A, b, rtol=1e-10, backend=on)
        relaxed = rv.gauss_seidel(A.to_sparse_csr(), b, order="multicolor", backend=on)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)  # "cpu" would leave a mode on, in which nothing is traced
    assert torch.equal(found.x, plain.x)
    assert relaxed.converged
    assert relaxed.x.device.type == "cpu"


def test_devices_are_not_mixed(on):
    A, b = system()
    with pytest.raises(rv.BackendError, match=r"cpu and meta.*\.to"):
        rv.cg(A, b.to("meta"), backend=on)
    with pytest.raises(rv.BackendError, match="M: lies on meta"):
        rv.cg(A, b, M=A.to("meta"), backend=on)

    class Elsewhere:
        shape, dtype = A.shape, torch.float64

        def __call__(self, x):
            return x.to("meta")

    with pytest.raises(rv.BackendError, match="A: lies on meta"):
        rv.cg(Elsewhere(), b, backend=on)


def test_callables_must_return_tensors(on):
    A, b = system()

    class ThroughNumpy:
        shape, dtype = A.shape, "float64"

        def __call__(self, x):
            return A.numpy() @ x.numpy()

    with pytest.raises(rv.BackendError, match="ndarray; wanted a torch tensor"):
        rv.cg(ThroughNumpy(), b, backend=on)


def test_a_factor_beyond_single_precision_is_infinite_and_no_error():
    backend = backend_named("torch")
    x, y = torch.ones(2), torch.zeros(2)
    assert backend.axpy(1e39, x, y).tolist() == [np.inf, np.inf]
    assert backend.axpby(1.0, torch.zeros(2), -1e39, torch.ones(2)).tolist() == [-np.inf, -np.inf]
    assert torch.isnan(backend.axpy(np.nan, x, torch.zeros(2))).all()


def test_accurate_residual_block_by_block(monkeypatch):
    module = sys.modules[type(backend_named("torch")).__module__]
    A, b = system(torch.float32, 50)
    x = torch.linalg.solve(A, b)
    exact = (b.double() - A.double() @ x.double()).float()
    monkeypatch.setattr(module, "BLOCK", 170)
    for given in (A, A.to_sparse_csr()):
        operator = backend_named("torch").operator(given)
        found = backend_named("torch").accurate_residual(operator, x, b, torch.zeros(50))
        torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-12)


def test_batch_of_sparse_matrices(on):
    A, b = system()
    matrices = torch.stack([A, 3 * A])
    solution = rv.cg(matrices.to_sparse_csr(), torch.stack([b, -b]), rtol=1e-12, backend=on)
    torch.testing.assert_close(solution.x, torch.linalg.solve(matrices, torch.stack([b, -b])))


def test_torch_is_not_imported_for_numpy():
    code = "import sys, numpy as np, resolvent as rv; rv.cg(np.eye(2), np.ones(2)); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.gpu
def test_cuda_gives_the_iterates_of_the_cpu():
    A, b = system()
    assert torch.cuda.is_available()
    for method in rv.METHODS:
        here = rv.solve(A, b, method=method, rtol=1e-9)
        there = rv.solve(A.cuda(), b.cuda(), method=method, rtol=1e-9)
        assert there.x.device.type == "cuda"
        torch.testing.assert_close(there.x.cpu(), here.x, rtol=1e-8, atol=1e-10)
    with pytest.raises(rv.BackendError, match="cpu and cuda"):
        rv.cg(A, b.cuda())


def unchecked(layout, starts, indices, values=None):
    """A tensor (2, 2) of float64 that torch was told not to check."""
    values = torch.ones(len(indices), dtype=torch.float64) if values is None else values
    make = getattr(torch, f"sparse_{layout}_tensor")
    return make(torch.tensor(starts), torch.tensor(indices), values, (2, 2), check_invariants=False)


FAULTS = {
    "a column too large": (lambda: unchecked("csr", [0, 1, 2], [0, 9]), "row 1 holds column 9; wanted columns 0 to 1"),
    "a negative column": (lambda: unchecked("csr", [0, 1, 2], [-1, 1]), "row 0 holds column -1"),
    "backwards": (lambda: unchecked("csr", [0, 2, 1], [0, 1]), "row 1 begins at entry 2 and ends at 1"),
    "behind the data": (lambda: unchecked("csr", [0, 1, 9], [0, 1]), "row 1 ends at entry 9"),
    "no first entry": (lambda: unchecked("csr", [1, 1, 2], [0, 1]), "crow_indices begins with 1"),
    "too many rows": (lambda: unchecked("csr", [0, 1, 2, 2], [0, 1]), "crow_indices has 4 entries; wanted 3"),
    "floats": (lambda: unchecked("csr", [0.0, 1, 2], [0, 1]), "crow_indices is an array of float32"),
    "too few values": (lambda: unchecked("csr", [0, 1, 2], [0, 1], torch.ones(1).double()), "2 indices and 1 values"),
    "a row too large": (lambda: unchecked("csc", [0, 1, 2], [0, 9]), "column 1 holds row 9; wanted rows 0 to 1"),
    "a block too far": (
        lambda: unchecked("bsr", [0, 1], [4], torch.ones(1, 2, 2).double()),
        "block row 0 holds block column 4",
    ),
    "an entry outside": (
        lambda: torch.sparse_coo_tensor([[0, 1], [0, 5]], [1.0, 1.0], (2, 2), check_invariants=False),
        "entry 1 lies in column 5",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_tensor_is_refused_in_words(fault):
    make, said = FAULTS[fault]
    for name in ("A", "M"):
        with pytest.raises(rv.InputError, match=f"^{name}: ") as caught:
            backend_named("torch").operator(make(), name)
        assert said in str(caught.value)


def test_what_rows_do_not_name_is_left_out():
    A = unchecked("csr", [0, 2, 3], [1, 0, 1, 77], torch.tensor([1.0, 4, 3, torch.nan], dtype=torch.float64))
    np.testing.assert_array_equal(backend_named("torch").operator(A).tocsr().toarray(), [[4, 1], [0, 3]])


def test_meta_tensors_are_refused():
    A, b = (x.to("meta") for x in system())
    calls = [
        lambda: rv.cg(A, b),
        lambda: rv.refine(A, b),
        lambda: rv.precondition.jacobi(A),
        lambda: rv.condition_number(A),
    ]
    for call in calls:
        with pytest.raises(rv.BackendError, match="A: is a meta tensor"):
            call()


def test_filters_of_warnings_are_left_alone():
    # They are one list for all threads: changed in one and put back in another, they would stay changed.
    script = """
import warnings
import scipy.sparse, torch
before = list(warnings.filters)
import resolvent as rv
assert warnings.filters == before
b = torch.ones(3, dtype=torch.float64)
rv.cg(torch.eye(3, dtype=torch.float64), b)
assert warnings.filters == before
A = torch.eye(3, dtype=torch.float64).to_sparse_csr()
def never(*args, **options):
    raise AssertionError("filters were changed")
warnings.catch_warnings = never
assert rv.cg(A, b).converged
assert rv.cg(A.to_sparse_coo(), b).converged
assert rv.sor(A, b, backend="torch", order="multicolor").converged
assert warnings.filters == before
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
