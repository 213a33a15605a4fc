"""What only a device can tell: its tensor cores against their model, derivatives of solves on it, mixed devices."""

import numpy as np
import pytest

import resolvent as rv
from resolvent.precision import formats, tensor_core_matmul
from resolvent.precision import round as rounded_to
from resolvent.precision.tensor_core import TENSOR_CORES

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.gpu
INPUTS = {"bf16": "bfloat16", "fp16": "float16", "tf32": "float32"}


def model_of_this_device():
    """Its name in the model, or None."""
    name = torch.cuda.get_device_name()
    return next((known for known in TENSOR_CORES if known in name), None)


@pytest.fixture(scope="module")
def multiplied():
    """C + A B by one tl.dot: mma of 16 rows, or on Hopper wgmma of 64."""
    triton = pytest.importorskip("triton")
    tl = triton.language

    @triton.jit
    def dot_kernel(a, b, c, out, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
        rows, columns, along = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
        left = tl.load(a + rows[:, None] * K + along[None, :])
        right = tl.load(b + along[:, None] * N + columns[None, :])
        places = rows[:, None] * N + columns[None, :]
        tl.store(out + places, tl.dot(left, right, tl.load(c + places), input_precision="tf32"))

    def multiply(a, b, c, kind):
        on_device = [torch.from_numpy(x).cuda().to(getattr(torch, kind)).contiguous() for x in (a, b)]
        c = torch.from_numpy(c).cuda()
        out = torch.empty_like(c)
        dot_kernel[(1,)](*on_device, c, out, M=a.shape[0], N=b.shape[1], K=a.shape[1])
        return out.cpu().numpy()

    return multiply


def operands(which, input, m, n, k):
    """Random numbers of a format, or such as show where sums are cut off, aligned and overflow."""
    rng = np.random.default_rng(0)
    format = formats.format_named(input)

    def numbers(shape, spread):
        x = rng.standard_normal(shape) * 2.0 ** rng.integers(-spread, spread + 1, shape)
        return rounded_to(np.clip(x, -format.largest, format.largest), input).astype(np.float32)

    if which == "random":
        return numbers((m, k), 0), numbers((k, n), 0), rng.standard_normal((m, n)).astype(np.float32)
    a, b = numbers((m, k), 12), numbers((k, n), 12)
    if which == "cancelling":
        a[:, 1::2], b[1::2] = -a[:, ::2], b[::2]
        return a, b, (2.0 ** rng.integers(-30, 30, (m, n))).astype(np.float32)
    if which == "subnormal":
        a[:] = float(format.smallest) * rng.integers(-3, 4, (m, k))
        return a, np.sign(b), np.zeros((m, n), np.float32)
    rare = rng.random(a.shape)
    a[rare < 0.02], a[(rare > 0.02) & (rare < 0.04)], a[rare > 0.99] = np.inf, -np.inf, np.nan
    return a, b, np.full((m, n), 3e38, np.float32)


@pytest.mark.parametrize("which", ["random", "cancelling", "subnormal", "not finite"])
@pytest.mark.parametrize("input", INPUTS)
@pytest.mark.parametrize("rows", [16, 64])
def test_tensor_cores_are_those_of_the_model(multiplied, rows, input, which):
    device = model_of_this_device()
    if device is None:
        pytest.skip(f"no model of {torch.cuda.get_device_name()}")
    a, b, c = operands(which, input, rows, 16, 64)
    found = multiplied(a, b, c, INPUTS[input])
    with np.errstate(all="ignore"):
        wanted = tensor_core_matmul(a, b, c, device=device, input=input)
    assert np.array_equal(np.isnan(found), np.isnan(wanted))
    numbers = ~np.isnan(wanted)
    assert np.array_equal(found[numbers].view(np.uint32), wanted[numbers].view(np.uint32))


def definite(n=12):
    draw = np.random.default_rng(1).standard_normal((n, n))
    return torch.from_numpy(draw @ draw.T / n + np.eye(n)), torch.from_numpy(np.arange(1.0, n + 1))


@pytest.mark.parametrize("method", ["cg", "minres", "gmres", "bicgstab", "chebyshev"])
def test_derivatives_of_solves(method):
    from resolvent import layers

    A, b = definite()

    def gradients(solve, A, b):
        A, b = A.clone().requires_grad_(), b.clone().requires_grad_()
        return torch.autograd.grad(solve(A, b).square().sum(), (A, b))

    found = gradients(lambda A, b: layers.solve(A, b, method=method, rtol=1e-12), A.cuda(), b.cuda())
    wanted = gradients(torch.linalg.solve, A, b)
    assert all(part.is_cuda for part in found)
    for ours, exact in zip(found, wanted, strict=True):
        assert torch.allclose(ours.cpu(), exact, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["sqrtm", "invsqrtm", "inverse", "orthogonalize", "matrix_sign"])
def test_derivatives_of_matrix_functions(name):
    from resolvent import layers

    A, _ = definite()

    def gradient(A):
        A = A.clone().requires_grad_()
        return torch.autograd.grad(getattr(layers, name)(A)[0].sum(), A)[0]

    assert torch.allclose(gradient(A.cuda()).cpu(), gradient(A), rtol=1e-6, atol=1e-8)


def test_mixed_devices_are_refused():
    A, b = definite()
    for mixed in ((A, b.cuda()), (A.cuda(), b), (A.cuda(), b.numpy())):
        with pytest.raises(rv.BackendError):
            rv.cg(*mixed)
    cupy = pytest.importorskip("cupy")
    with pytest.raises(rv.BackendError):
        rv.cg(cupy.asarray(A.numpy()), b.cuda())


def test_kernels_refuse_mixed_devices():
    pytest.importorskip("triton")
    from resolvent.gpu.triton.newton_schulz import product

    X = torch.ones(1, 16, 16)
    with pytest.raises(rv.errors.InputError, match="L: found a tensor on cpu; Triton wants a CUDA device"):
        product(X, X.cuda(), None, 1.0, 0.0, False)
    if torch.cuda.device_count() > 1:
        with pytest.raises(rv.errors.InputError, match=r"R: found a tensor on cuda:1; wanted one on cuda:0"):
            product(X.cuda(0), X.cuda(1), None, 1.0, 0.0, False)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("n", [64, 300, 2048])
def test_symmetric_products_of_every_configuration(n, dtype):
    """As many kernels as the tuner may choose from, on sizes that tiles divide and others."""
    pytest.importorskip("triton")
    from resolvent.gpu.triton.newton_schulz import product

    X = torch.randn(2, n + 40, n, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    X = X.to(getattr(torch, dtype))
    found, wanted = product(X.mT, X, None, 1.0, 0.0, True), X.double().mT @ X.double()
    assert torch.equal(found, found.mT)
    roundoff = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-18}[dtype]
    assert (found.double() - wanted).abs().max() < roundoff * (X.double().abs().mT @ X.double().abs()).max()


def test_muon_on_a_device_takes_the_step_of_the_host():
    from resolvent.layers.optim import Muon

    def updated(device, dtype):
        weight = torch.nn.Parameter(torch.zeros(100, 60, device=device))
        weight.grad = torch.from_numpy(np.random.default_rng(0).standard_normal((100, 60))).float().to(device)
        Muon([weight], lr=1.0, weight_decay=0.0, ns_coefficients="polar-express", compute_dtype=dtype).step()
        return weight.detach().cpu()

    found, wanted = updated("cuda", torch.bfloat16), updated("cpu", torch.float32)
    assert (found - wanted).norm() < 0.1 * wanted.norm()
