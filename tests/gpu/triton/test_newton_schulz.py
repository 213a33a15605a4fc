"""Newton-Schulz kernels against products, iterations and derivatives in float64."""

import json
import os
import pathlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
tl = triton.language

from resolvent.backends import choose_backend  # noqa: E402
from resolvent.errors import InputError  # noqa: E402
from resolvent.gpu.triton import launching, table  # noqa: E402
from resolvent.gpu.triton.newton_schulz import (  # noqa: E402
    LARGEST_SMALL,
    SCALINGS,
    _of_triangle,
    orthogonal_small,
    product,
    product_,
)
from resolvent.gpu.triton.products import TritonProducts  # noqa: E402
from resolvent.layers.optim.orthogonal import orthogonal  # noqa: E402
from resolvent.solvers.matrix_functions.newton_schulz import preset  # noqa: E402
from resolvent.solvers.matrix_functions.products import products_for  # noqa: E402

ROOT = pathlib.Path(__file__).parents[3]
DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
# Of a product's entries, over the largest of the products of moduli: that of the sum, and of storing it.
ROUNDOFF = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11, torch.float32: 2.0**-21}
dtypes = pytest.mark.parametrize("dtype", ROUNDOFF, ids=str)
QUINTIC, CUBIC = (1.875, -1.25, 0.375), (1.5, -0.5)


def drawn(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).to(DEVICE)


def layouts(x):
    """The same matrices, laid out otherwise: by columns, with gaps, and one repeated without being copied."""
    yield x
    yield x.mT.contiguous().mT
    wide = x.new_empty((x.shape[0], 2 * x.shape[1], x.shape[2] + 3))
    wide[:, ::2, 3:] = x
    yield wide[:, ::2, 3:]


def worst(found, wanted, scale, dtype):
    """The largest error, in units of roundoff of the largest entry."""
    return ((found.double() - wanted).abs().max() / (ROUNDOFF[dtype] * scale.max())).item()


@dtypes
@pytest.mark.parametrize("m", [5, 64, 200])
@pytest.mark.parametrize("n", [1, 33, 64, 130])
@pytest.mark.parametrize("count", [1, 3])
def test_gram_matrix(count, n, m, dtype):
    X = drawn(count, m, n, dtype=dtype)
    exact = X.double()
    for given in layouts(X):
        found = product(given.mT, given, None, 1.0, 0.0, True)
        assert found.dtype == dtype
        assert torch.equal(found, found.mT)
        assert worst(found, exact.mT @ exact, exact.abs().mT @ exact.abs(), dtype) < 1.1


@dtypes
@pytest.mark.parametrize("n", [7, 64, 150])
def test_polynomial_of_a_gram_matrix(n, dtype):
    X = drawn(2, 20, n, dtype=torch.float64, seed=1) / n**0.5
    A = (X.mT @ X).to(dtype)
    exact = A.double()
    wanted = -1.25 * exact + 0.375 * exact @ exact
    for given in layouts(A):
        found = product(given, given, given, 0.375, -1.25, True)
        assert torch.equal(found, found.mT)
        assert worst(found, wanted, 1.25 * exact.abs() + 0.375 * exact.abs() @ exact.abs(), dtype) < 1.1


@dtypes
@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 150, 70), (2, 64, 129)], ids=str)
def test_step(shape, dtype):
    X, B = drawn(*shape, dtype=dtype), drawn(shape[0], shape[2], shape[2], dtype=dtype, seed=2)
    wanted = 1.5 * X.double() + X.double() @ B.double()
    scale = 1.5 * X.double().abs() + X.double().abs() @ B.double().abs()
    for left, right in zip(layouts(X), reversed([*layouts(B)]), strict=True):
        assert worst(product(left, right, left, 1.0, 1.5, False), wanted, scale, dtype) < 1.1


@triton.jit
def _places_kernel(row, column, SIZE: tl.constexpr):
    tile = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    r, c = _of_triangle(tile)
    tl.store(row + tile, r)
    tl.store(column + tile, c)


def test_every_tile_of_a_triangle_is_found_once():
    """Row and column come from a rounded square root; there are 1024 rows of tiles in a matrix of 131072."""
    tiles = 1024 * 1025 // 2
    row, column = (torch.empty(-(-tiles // 4096) * 4096, dtype=torch.int32, device=DEVICE) for _ in range(2))
    _places_kernel[(row.numel() // 4096,)](row, column, SIZE=4096)
    wanted = np.tril_indices(1024)
    assert np.array_equal(row[:tiles].cpu(), wanted[0])
    assert np.array_equal(column[:tiles].cpu(), wanted[1])


def test_matrices_that_lie_far_apart():
    """Beyond what offsets of 32 bits reach."""
    apart = 2**31 + 64
    X = torch.empty(apart + 128, dtype=torch.float16, device=DEVICE).as_strided((2, 16, 8), (apart, 8, 1))
    X.copy_(drawn(2, 16, 8, dtype=torch.float16))
    found = product(X.mT, X, None, 1.0, 0.0, True)
    assert torch.allclose(found.float(), X.float().mT @ X.float(), rtol=1e-3, atol=1e-2)


@dtypes
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 5, 3), (2, 60, 33), (1, 7, 50), (1, 1, 1)], ids=str)
def test_whole_iterations(shape, scaling, dtype):
    """Those of the plain iteration in float64: these steps magnify no error."""
    X = drawn(*shape, dtype=dtype)
    steps = [QUINTIC, CUBIC, QUINTIC, CUBIC]
    flat = [c for step in steps for c in (*step, 0.0)[:3]]
    found = orthogonal_small(X, flat, scaling, 1e-7)
    wanted = orthogonal(X.double().cpu(), steps, scaling=scaling, eps=1e-7)
    assert found.dtype == dtype
    assert (found.double().cpu() - wanted).abs().max() < {2: 6, 4: 40}[dtype.itemsize] * ROUNDOFF[dtype]


@dtypes
def test_whole_iterations_of_any_size_and_layout(dtype):
    X = drawn(2, 40, 20, dtype=dtype)
    flat = [*QUINTIC] * 3
    wanted = orthogonal_small(X, flat, "frobenius", 1e-7)
    for given in layouts(X):
        assert torch.equal(orthogonal_small(given, flat, "frobenius", 1e-7), wanted)
    # Powers of two change nothing, up to the ends of the range; nothing becomes nothing.
    most = 3 if dtype == torch.float16 else 100
    for power in (2.0**-most, 2.0**most):
        assert torch.equal(orthogonal_small(X * power, flat, "frobenius", 0.0), wanted)
    assert not orthogonal_small(torch.zeros_like(X), flat, "aol", 1e-7).any()
    assert orthogonal_small(X[:0], flat, "frobenius", 1e-7).shape == (0, 40, 20)


def exact_iteration(X, steps, scaling, eps):
    """In any graph, as it is defined."""
    X = X / torch.linalg.vector_norm(X, dim=(-2, -1), keepdim=True).clamp(min=eps)
    A = X.mT @ X
    if scaling == "schatten-4":
        X = X / torch.linalg.vector_norm(A, dim=(-2, -1), keepdim=True).sqrt()
    elif scaling == "aol":
        X = X / A.abs().sum(-2, keepdim=True).sqrt()
    for a, b, c in zip(*[iter(steps)] * 3, strict=True):
        A = X.mT @ X
        X = a * X + X @ (b * A + c * A @ A)
    return X


@pytest.mark.parametrize("eps", [1e-7, 1e3], ids=["norm", "eps"])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_derivatives_of_whole_iterations(scaling, eps):
    X, G = drawn(2, 9, 6).requires_grad_(), drawn(2, 9, 6, seed=3)
    steps = [*QUINTIC] * 2 + [1.5, -0.5, 0.0]
    (found,) = torch.autograd.grad(orthogonal_small(X, steps, scaling, eps), X, G)
    exact = X.detach().double().requires_grad_()
    (wanted,) = torch.autograd.grad(exact_iteration(exact, steps, scaling, eps), exact, G.double())
    assert (found - wanted).norm() < 1e-5 * wanted.norm()


@pytest.mark.parametrize("symmetric", [False, True])
def test_derivatives_of_products(symmetric):
    """First and second ones, of a symmetric one along those that are."""
    X, S = drawn(2, 6, 4), drawn(2, 4, 4, seed=4)
    G = drawn(2, 4, 4, seed=5)

    def first(function, X, S, G):
        X, S = X.clone().requires_grad_(), (S + S.mT).requires_grad_()
        (of_X, of_S) = torch.autograd.grad(function(X, S), (X, S), G, create_graph=True)
        second = torch.autograd.grad(of_X.square().sum() + of_S.square().sum(), X)
        return of_X, of_S, second[0]

    found = first(lambda X, S: product(X.mT, X, S, 0.5, 2.0, symmetric), X, S, G)
    wanted = first(lambda X, S: 0.5 * X.mT @ X + 2.0 * S, X.double(), S.double(), G.double())
    for ours, exact in zip(found, wanted, strict=True):
        assert (ours - exact).norm() < 1e-5 * exact.norm()


@pytest.mark.parametrize(
    "checked",
    [
        ("test_schema", "test_autograd_registration", "test_faketensor"),
        pytest.param(("test_aot_dispatch_dynamic",), marks=pytest.mark.slow),
    ],
    ids=["", "in graphs of any shape"],
)
def test_what_operators_promise(checked):
    """The schema, the fake and the derivative agree with what the kernel does."""
    X = drawn(2, 8, 4).requires_grad_()
    torch.library.opcheck(product, (X.mT, X, None, 1.0, 0.0, True), test_utils=checked)
    torch.library.opcheck(orthogonal_small, (X, [*QUINTIC], "frobenius", 1e-7), test_utils=checked)
    out, detached = drawn(2, 4, 4), X.detach()
    torch.library.opcheck(product_, (out, detached.mT, detached, None, 1.0, 0.0, True), test_utils=checked)


def newton_schulz(X):
    for a, b, c in (CUBIC + (0.0,), QUINTIC):
        A = product(X.mT, X, None, 1.0, 0.0, True)
        X = product(X, product(A, A, A, c, b, True), X, 1.0, a, False)
    return orthogonal_small(X, [*QUINTIC], "frobenius", 1e-7)


def test_compiled_as_one_graph():
    X = drawn(2, 8, 4)
    compiled = torch.compile(newton_schulz, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(X), newton_schulz(X), rtol=1e-6, atol=1e-6)


def test_exported_and_on_meta_tensors():
    class Module(torch.nn.Module):
        def forward(self, X):
            return newton_schulz(X)

    X = drawn(2, 8, 4)
    exported = torch.export.export(Module(), (X,))
    assert torch.equal(exported.module()(X), newton_schulz(X))
    names = {str(node.target) for node in exported.graph.nodes}
    assert {"resolvent.product.default", "resolvent.orthogonal_small.default"} <= names
    assert newton_schulz(X.to("meta")).shape == X.shape


def test_all_kernels_use_tensor_cores():
    record = json.loads((ROOT / "benchmarks" / "results" / "compiled_kernels.json").read_text())["kernels"]
    mine = [name for name, row in table.rows().items() if row.kernel.fn.__module__.endswith("newton_schulz")]
    assert len(mine) > 20
    for name in mine:
        assert all(found["tensor_cores"] for found in record[name].values()), name


def test_what_is_refused(monkeypatch):
    X = drawn(2, 8, 4)
    for wrong, message in (
        ((X.mT, X.double(), None), "R: found torch.float64; wanted bfloat16, float16 or float32"),
        ((X.mT, X.half(), None), "R: found torch.float16; wanted torch.float32"),
        ((X.mT, X[0], None), r"R: found shape \(8, 4\); wanted a stack"),
        ((X.mT, X[:1], None), r"R: found shape \(1, 8, 4\); wanted \(2, 8, 4\)"),
        ((X.mT, X, X), r"C: found shape \(2, 8, 4\); wanted \(2, 4, 4\)"),
    ):
        out = X.new_empty(2, 4, 4)
        with pytest.raises(InputError, match=message):
            product_(out, *wrong, 1.0, 0.0, True)
    with pytest.raises(InputError, match="wanted a square one where it is symmetric"):
        product_(X.new_empty(2, 8, 3), X, drawn(2, 4, 3), None, 1.0, 0.0, True)
    for dtype, largest in LARGEST_SMALL.items():
        with pytest.raises(InputError, match=f"wanted at most {largest} rows and columns"):
            orthogonal_small(drawn(1, largest + 1, 2, dtype=dtype), [*QUINTIC], "frobenius", 1e-7)
    with pytest.raises(InputError, match="scaling: found 'spectral'; wanted one of frobenius"):
        orthogonal_small(X, [*QUINTIC], "spectral", 1e-7)
    monkeypatch.setattr(launching, "INTERPRETED", False)
    with pytest.raises(InputError, match="out: found a tensor on cpu; Triton wants a CUDA device: move it"):
        product(X.cpu().mT, X.cpu(), None, 1.0, 0.0, True)


def test_tensors_of_the_cpu_are_left_to_torch():
    X = drawn(40, 256, 256).cpu()
    assert type(products_for(choose_backend("torch", X), X)).__name__ == "TorchProducts"


class OnCuda(torch.Tensor):
    """Says that it lies on a device."""

    is_cuda = True


@pytest.mark.skipif(DEVICE == "cuda", reason="there are such tensors")
@pytest.mark.parametrize("dtype", [*ROUNDOFF, torch.float64], ids=str)
def test_those_of_a_device_are_not(dtype, monkeypatch):
    """In the types that kernels know."""
    monkeypatch.setattr("resolvent.gpu.triton.products.processors", lambda tensor: 132)
    X = drawn(1, 8, 4, dtype=dtype).as_subclass(OnCuda)
    found = products_for(choose_backend("torch", drawn(1)), X)
    assert type(found).__name__ == ("TorchProducts" if dtype == torch.float64 else "TritonProducts")


@pytest.mark.parametrize(
    ("count", "n", "symmetric", "fused"),
    [
        (1, 2048, True, False),
        (1, 1920, False, True),
        (32, 1024, True, True),
        (10_000, 128, False, True),
        (1, 512, False, False),
    ],
)
def test_what_pays(count, n, symmetric, fused, monkeypatch):
    """Symmetric products where 132 multiprocessors get a tile each, fused steps where the copy they spare is dear."""
    monkeypatch.setattr("resolvent.gpu.triton.products.processors", lambda tensor: 132)
    X = torch.empty(count, n, n, dtype=torch.bfloat16, device="meta")
    products = TritonProducts(choose_backend("torch", drawn(1)), X)
    assert products._symmetric_pays(count, n) is symmetric
    assert products._fused_pays(X) is fused


@pytest.fixture
def both():
    def make(X):
        backend = choose_backend("torch", X)
        return TritonProducts(backend, X), products_for(backend, X.cpu())

    return make


@pytest.mark.parametrize("n", [20, 130])
def test_what_matrix_functions_ask_for(both, n):
    """As torch's own, with symmetric results, whether kernels take it or torch."""
    X = drawn(1, 140, n, dtype=torch.bfloat16) / 16
    ours, plain = both(X)
    exact = X.cpu().double()
    A = (exact.mT @ exact).to(X)
    for name, arguments in (
        ("gram", (X,)),
        ("square", (A,)),
        ("quadratic", (A, -1.25, 0.375)),
        ("multiply_commuting", (A, A)),
        ("multiply_add", (X, A, 1.5)),
    ):
        exactly = [a.cpu().double() if isinstance(a, torch.Tensor) else a for a in arguments]
        wanted = getattr(plain, name)(*exactly, None)
        out = torch.empty_like(wanted, dtype=X.dtype, device=DEVICE) if name == "gram" else None
        found = getattr(ours, name)(*arguments, out)
        assert out is None or found is out
        assert (found.cpu().double() - wanted).abs().max() < 2.0**-7 * wanted.abs().max(), name
    assert ours.count == plain.count


@pytest.mark.parametrize("shape", [(3, 20, 12), (1, 60, 130)], ids=["whole", "by steps"])
def test_the_iteration_of_the_optimizer(both, monkeypatch, shape):
    """As near to that of float64 as torch's products come in the same type."""
    X = drawn(*shape, dtype=torch.bfloat16)
    steps = preset("polar-express").coefficients[:3]
    plain = orthogonal(X.cpu().clone(), steps, scaling="schatten-4").double()
    wanted = orthogonal(X.cpu().double(), steps, scaling="schatten-4")
    monkeypatch.setattr("resolvent.layers.optim.orthogonal.products_for", lambda backend, like: both(like)[0])
    found = orthogonal(X.clone(), steps, scaling="schatten-4").cpu().double()
    assert (found - wanted).norm() < 1.1 * (plain - wanted).norm()


def test_float32_is_left_to_torch_unless_tensor_cores_may_round_it(both):
    X = drawn(2, 40, 20)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        assert both(X)[0].orthogonal(X, [QUINTIC], "frobenius", 1e-7) is None
        torch.set_float32_matmul_precision("high")
        assert both(X)[0].orthogonal(X, [QUINTIC], "frobenius", 1e-7).shape == X.shape
    finally:
        torch.set_float32_matmul_precision(before)
    assert both(X)[0].orthogonal(X, [(1.0, 1.0, 1.0, 1.0)], "frobenius", 1e-7) is None
