"""layers.lstsq: derivatives of every order against finite differences and torch's pseudo-inverse."""

import warnings

import pytest

import resolvent as rv

torch = pytest.importorskip("torch")

from torch.autograd import gradcheck, gradgradcheck  # noqa: E402
from torch.func import jacfwd, jacrev, vmap  # noqa: E402

from resolvent.layers import lstsq  # noqa: E402

TIGHT = {"atol": 1e-14, "btol": 1e-14}


@pytest.fixture(autouse=True)
def below_rounding():
    """Tolerances near rounding are asked for, which not every solve meets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.ConvergenceWarning)
        yield


def problem(*shape, dtype=torch.float64, k=None):
    generator = torch.Generator().manual_seed(1)
    A = torch.randn(*shape, dtype=dtype, generator=generator)
    b = torch.randn(*shape[:-1], *(() if k is None else (k,)), dtype=dtype, generator=generator)
    return A.requires_grad_(), b.requires_grad_()


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (2, 2)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_all_orders(shape, dtype):
    A, b = problem(*shape, dtype=dtype)

    def x(A, b):
        return lstsq(A, b, **TIGHT)

    torch.testing.assert_close(x(A, b), torch.linalg.pinv(A) @ b)
    assert gradcheck(x, (A, b), check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(x, (A, b), check_fwd_over_rev=True, fast_mode=True)


def test_damping_is_differentiated_too():
    A, b = problem(2, 3, k=2)
    damp = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def x(A, b, damp):
        return lstsq(A, b, damp=damp, **TIGHT)

    normal = A.T @ A + damp**2 * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(x(A, b, damp), torch.linalg.solve(normal, A.T @ b))
    assert gradcheck(x, (A, b, damp))
    assert gradgradcheck(x, (A, b, damp), fast_mode=True)


@pytest.mark.parametrize("method", ["lsmr", "cgls", "lapack"])
def test_every_method(method):
    A, b = problem(6, 3)
    expected = torch.autograd.grad((torch.linalg.pinv(A) @ b).square().sum(), (A, b))
    x, solves = lstsq(A, b, method=method, return_solution=True, **TIGHT)
    found = torch.autograd.grad(x.square().sum(), (A, b))
    torch.testing.assert_close(found, expected)
    assert solves.forward.method == method
    assert len(solves.backward) == 2


def test_a_matrix_that_lacks_rank_is_differentiated_among_those_of_its_rank():
    generator = torch.Generator().manual_seed(0)
    L = torch.randn(5, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    R = torch.randn(2, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    b = torch.randn(5, dtype=torch.float64, generator=generator, requires_grad=True)

    def x(L, R, b):
        return lstsq(L @ R, b, full_rank=False, **TIGHT)

    assert gradcheck(x, (L, R, b))
    expected = torch.autograd.grad((torch.linalg.pinv(L @ R, rtol=1e-10) @ b).square().sum(), (L, R, b))
    torch.testing.assert_close(torch.autograd.grad(x(L, R, b).square().sum(), (L, R, b)), expected)


def test_batches_and_transforms():
    A, b = problem(2, 5, 3)
    x = lstsq(A, b, **TIGHT)
    assert x.shape == (2, 3)
    one = torch.stack([lstsq(A[i], b[i], **TIGHT) for i in range(2)])
    torch.testing.assert_close(x, one)
    A, b = A.detach(), b.detach()
    torch.testing.assert_close(vmap(lambda A, b: lstsq(A, b, **TIGHT))(A, b), x.detach())
    torch.testing.assert_close(vmap(lambda b: lstsq(A[0], b, **TIGHT))(b), lstsq(A[0], b.T, **TIGHT).T)
    forward, reverse = (jacobian(lambda A: lstsq(A, b[0], **TIGHT))(A[0]) for jacobian in (jacfwd, jacrev))
    torch.testing.assert_close(forward, reverse)


def test_what_is_not_finite_stays_with_its_column():
    A, b = problem(5, 3, k=2)
    x = lstsq(A, b, **TIGHT)
    gradient = torch.ones_like(x)
    gradient[0, 1] = torch.inf
    (found,) = torch.autograd.grad(x, b, gradient)
    assert found[:, 0].isfinite().all()
    assert found[:, 1].isnan().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda A, b: (A[0], b, {}), r"A: found shape \(3,\); wanted a matrix"),
        (lambda A, b: (A, b[:2], {}), r"b: found shape \(2,\) for A of shape \(5, 3\)"),
        (lambda A, b: (A * float("nan"), b, {}), "A: entry .* is nan"),
        (lambda A, b: (A, b, {"damp": -1.0}), "damp: found -1.0"),
        (lambda A, b: (A, b, {"atol": 2.0}), "atol: found 2.0"),
        (lambda A, b: (A, b, {"method": "qr"}), "method: found 'qr'"),
    ],
)
def test_refusals(change, message):
    A, b, options = change(*(tensor.detach() for tensor in problem(5, 3)))
    with pytest.raises(rv.InputError, match=message):
        lstsq(A, b, **options)
    with pytest.raises(TypeError, match="b: found"):
        lstsq(A, torch.ones(5, dtype=torch.int64))


def test_half_precision_is_solved_in_single():
    A, b = (tensor.detach().half() for tensor in problem(5, 3))
    assert lstsq(A, b).dtype == torch.float32
