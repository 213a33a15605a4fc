"""layers.solve: gradients against torch's of a dense inverse, finite differences, and the bounds that are promised."""

import math
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse.linalg

import resolvent as rv

torch = pytest.importorskip("torch")

from torch.autograd import forward_ad  # noqa: E402
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap  # noqa: E402

from resolvent.layers import solve  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse:UserWarning"),
    pytest.mark.filterwarnings("error::resolvent.ConvergenceWarning"),
]

N = 3
METHODS = ("auto", "exact", *rv.METHODS)
# What a method needs besides, for a matrix that is not symmetric.
PARAMETERS = {"chebyshev": {"interval": (2.0, 6.0)}, "richardson": {"omega": 0.25}, "sor": {"omega": 1.05}}
UNSYMMETRIC = [name for name, method in rv.METHODS.items() if not method.needs_hermitian]
PRODUCTS_ALONE = [name for name, method in rv.METHODS.items() if not method.needs_entries]


def random(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def definite(*lead, dtype=torch.float64, seed=1, n=N):
    """Hermitian, positive definite and diagonally dominant."""
    B = random(*lead, n, n, dtype=dtype, seed=seed)
    return (B + B.mH) / 4 + 4 * torch.eye(n, dtype=dtype)


def unsymmetric(*lead, dtype=torch.float64, seed=2, n=N):
    """Diagonally dominant by rows and columns."""
    return random(*lead, n, n, dtype=dtype, seed=seed) / 4 + 4 * torch.eye(n, dtype=dtype)


def hermitian_part(A):
    return (A + A.mH) / 2


def inverse_solve(A, b):
    """The oracle: every derivative of torch.linalg.inv and matmul is right, which linalg.solve's are not."""
    return (torch.linalg.inv(A) @ b[..., None])[..., 0] if b.ndim == A.ndim - 1 else torch.linalg.inv(A) @ b


def gradients(function, *inputs):
    """Gradients of a sum of sines, so that cotangents differ from one."""
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    return torch.autograd.grad(function(*inputs).abs().sin().sum(), inputs)


def assert_same(found, wanted, rtol=1e-10):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=rtol)


# First and second derivatives, in both modes.


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_gradcheck(method, dtype):
    A, b = definite(dtype=dtype).requires_grad_(), random(N, dtype=dtype).requires_grad_()

    def function(A, b):
        return solve(hermitian_part(A), b, method=method, rtol=1e-13)

    fast = dtype == torch.complex128
    assert torch.autograd.gradcheck(function, (A, b), check_forward_ad=True, fast_mode=fast)
    assert torch.autograd.gradgradcheck(function, (A, b), check_fwd_over_rev=True, fast_mode=fast)


@pytest.mark.parametrize("method", ["auto", "exact", *UNSYMMETRIC])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_unsymmetric_matrices(method, dtype):
    A, b = unsymmetric(dtype=dtype), random(N, 2, dtype=dtype)
    given = PARAMETERS.get(method, {})
    found = gradients(lambda A, b: solve(A, b, method=method, rtol=1e-13, **given), A, b)
    assert_same(found, gradients(torch.linalg.solve, A, b))


def test_gradient_of_a_symmetric_matrix_is_not_symmetrised():
    A, b = definite(), random(N)
    found = gradients(lambda A, b: solve(A, b, method="cg", rtol=1e-13), A, b)
    assert_same(found, gradients(torch.linalg.solve, A, b))
    assert (found[0] - found[0].mT).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("A_shape", "b_shape"), [((), (N,)), ((), (N, 2)), ((2,), (2, N)), ((2,), (2, N, 4)), ((2, 3), (2, 3, N))]
)
@pytest.mark.parametrize("method", ["cg", "exact"])
def test_shapes_of_batches(A_shape, b_shape, method):
    A, b = definite(*A_shape), random(*b_shape)
    found = solve(A, b, method=method, rtol=1e-13)
    assert found.shape == b.shape
    torch.testing.assert_close(found, torch.linalg.solve(A, b))
    assert_same(
        gradients(lambda A, b: solve(A, b, method=method, rtol=1e-13), A, b), gradients(torch.linalg.solve, A, b)
    )


@pytest.mark.parametrize(
    ("A_shape", "b_shape"), [((), (5, N, 2)), ((2, 1), (4, N, 2)), ((1,), (4, N, 1)), ((4,), (N, 2)), ((4,), (N,))]
)
@pytest.mark.parametrize("method", ["cg", "exact"])
def test_leading_dimensions_are_broadcast(A_shape, b_shape, method):
    A, b = definite(*A_shape), random(*b_shape)
    found = solve(A, b, method=method, rtol=1e-13)
    wanted = torch.linalg.solve(A, b)
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted)
    assert_same(
        gradients(lambda A, b: solve(A, b, method=method, rtol=1e-13), A, b), gradients(torch.linalg.solve, A, b)
    )


def test_a_real_matrix_with_a_complex_right_hand_side():
    A, b = definite(), random(N, dtype=torch.complex128)
    found = gradients(lambda A, b: solve(A, b, method="cg", rtol=1e-13), A, b)
    assert found[0].dtype == torch.float64
    assert_same(found, gradients(lambda A, b: torch.linalg.solve(A.to(b.dtype), b), A, b))


def test_no_gradient_flows_to_the_first_guess():
    A, b, x0 = definite(), random(N), random(N, seed=5).requires_grad_()
    x, solves = solve(A.requires_grad_(), b, x0=x0, method="cg", rtol=1e-12, return_solution=True)
    x.sum().backward()
    assert x0.grad is None
    torch.testing.assert_close(x, torch.linalg.solve(A, b))
    exact = torch.linalg.solve(A, b)
    assert solve(A, b, x0=exact, method="cg", return_solution=True)[1].forward.iterations == 0
    assert solves.forward.iterations > 0


# Sparse matrices.


def tridiagonal(n=5):
    dense = torch.diag(random(n, seed=3).abs() + 3) + torch.diag(random(n - 1, seed=4) / 2, 1)
    return (dense + torch.diag(random(n - 1, seed=5) / 2, -1)).to_sparse_csr()


def places(A):
    return torch.repeat_interleave(torch.arange(A.shape[0]), A.crow_indices().diff()), A.col_indices()


def dense_of(A):
    """values -> the full matrix."""
    rows, columns, shape = *places(A), tuple(A.shape)
    return lambda values: torch.zeros(shape, dtype=values.dtype).index_put((rows, columns), values, accumulate=True)


@pytest.mark.parametrize("method", ["auto", *UNSYMMETRIC])
def test_sparse_gradient_lies_on_the_pattern(method):
    A, b = tridiagonal(), random(5)
    given = PARAMETERS.get(method, {})
    sparse = A.clone().requires_grad_()
    solve(sparse, b, method=method, rtol=1e-13, **given).sin().sum().backward()
    dense = A.to_dense().requires_grad_()
    torch.linalg.solve(dense, b).sin().sum().backward()
    assert sparse.grad.layout == torch.sparse_csr
    assert torch.equal(sparse.grad.col_indices(), A.col_indices())
    torch.testing.assert_close(sparse.grad.values(), dense.grad[places(A)], rtol=1e-10, atol=1e-12)


def test_values_beside_a_pattern_are_differentiated_in_every_way():
    A, b = tridiagonal(3), random(3, 2)
    values, dense = A.values().clone(), dense_of(A)

    def ours(values, b):
        return solve(A, b, params=(values,), method="gauss_seidel", rtol=1e-14)

    def theirs(values, b):
        return inverse_solve(dense(values), b)

    inputs = (values.requires_grad_(), b.requires_grad_())
    assert torch.autograd.gradcheck(ours, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(ours, inputs, check_fwd_over_rev=True)
    values, b = values.detach(), b.detach()
    pairs = torch.stack([values, 2 * values])
    torch.testing.assert_close(vmap(ours, (0, None))(pairs, b), vmap(theirs, (0, None))(pairs, b))
    torch.testing.assert_close(
        solve(A, b, params=(pairs,), method="gauss_seidel", rtol=1e-14),
        theirs(pairs[0], b) / torch.tensor([1.0, 2.0])[:, None, None],
    )
    second = [hessian(lambda values, f=f: f(values, b).sin().sum())(values) for f in (ours, theirs)]
    assert_same(second[:1], second[1:])


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_repeated_and_unsorted_entries(dtype):
    starts, columns = torch.tensor([0, 3, 6, 8], dtype=dtype), torch.tensor([1, 0, 0, 1, 2, 0, 2, 1], dtype=dtype)
    values = torch.tensor([0.5, 2, 2, 5, -1, 0.25, 3, -0.5], dtype=torch.float64)
    A = torch.sparse_csr_tensor(starts, columns, values, (3, 3), check_invariants=False)
    rows = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
    b = random(3)

    def theirs(values, b):
        empty = torch.zeros(3, 3, dtype=torch.float64)
        return torch.linalg.solve(empty.index_put((rows, columns.long()), values, accumulate=True), b)

    found = gradients(lambda values, b: solve(A, b, params=(values,), method="jacobi", rtol=1e-14), values, b)
    assert_same(found, gradients(theirs, values, b))


# Matrices that only multiply.


def product(x, d, V):
    return d * x + V @ (V.mT @ x) / 4


def full(d, V):
    return torch.diag(d) + V @ V.mT / 4


@pytest.mark.parametrize("method", ["auto", *PRODUCTS_ALONE])
def test_parameters_of_a_callable(method):
    d, V, b = random(4).abs() + 2, random(4, 2), random(4, 2, seed=7)
    found = gradients(lambda d, V, b: solve(product, b, params=(d, V), method=method, rtol=1e-13), d, V, b)
    assert_same(found, gradients(lambda d, V, b: torch.linalg.solve(full(d, V), b), d, V, b))


def test_second_derivatives_of_a_callable():
    d, V, b = random(N).abs() + 2, random(N, 1), random(N, seed=7)
    inputs = [tensor.requires_grad_() for tensor in (d, V, b)]

    def function(d, V, b):
        return solve(product, b, params=(d, V), method="cg", rtol=1e-13)

    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, inputs, check_fwd_over_rev=True)


def shifted(x, d, skew):
    return d * x + skew * (torch.roll(x, 1) - torch.roll(x, -1))


def shifted_adjoint(x, d, skew):
    return d.conj() * x - skew.conj() * (torch.roll(x, 1) - torch.roll(x, -1))


@pytest.mark.parametrize("rmatvec", [None, shifted_adjoint])
def test_the_adjoint_of_a_callable(rmatvec):
    """Richardson's iteration takes a matrix that is not Hermitian: the backward solve needs its adjoint."""
    d, skew, b = random(4).abs() / 4 + 2, torch.tensor(0.2, dtype=torch.float64), random(4, dtype=torch.complex128)
    eye = torch.eye(4, dtype=torch.float64)

    def ours(d, skew, b):
        return solve(shifted, b, params=(d, skew), rmatvec=rmatvec, method="richardson", omega=0.4, rtol=1e-13)

    def theirs(d, skew, b):
        A = torch.diag(d) + skew * (torch.roll(eye, 1, 0) - torch.roll(eye, -1, 0))
        return inverse_solve(A.to(b.dtype), b)

    assert_same(gradients(ours, d, skew, b), gradients(theirs, d, skew, b))
    second = [hessian(lambda d, f=f: f(d, skew, b).abs().sum())(d) for f in (ours, theirs)]
    assert_same(second[:1], second[1:])


def test_a_hermitian_callable_is_its_own_adjoint():
    calls = []

    def counted(x, d, V):
        calls.append(torch._C._are_functorch_transforms_active())
        return product(x, d, V)

    d, V, b = random(4).abs() + 2, random(4, 2), random(4, seed=7)
    found = gradients(
        lambda d, V, b: solve(counted, b, params=(d, V), hermitian=True, method="cg", rtol=1e-13), d, V, b
    )
    assert sum(calls) == 1  # for the parameters; none for the adjoint
    assert_same(found, gradients(lambda d, V, b: torch.linalg.solve(full(d, V), b), d, V, b))


def test_a_module_brings_its_parameters():
    module = torch.nn.Linear(4, 4, bias=False, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(definite(n=4))
    b = random(4, 2)
    solve(module, b, method="cg", rtol=1e-13).sin().sum().backward()
    (wanted,) = torch.autograd.grad(torch.linalg.solve(module.weight, b).sin().sum(), module.weight)
    torch.testing.assert_close(module.weight.grad, wanted)
    weight = module.weight.detach()
    found = grad(
        lambda w: (
            solve(lambda x, w: functional_call(module, {"weight": w}, (x,)), b, params=(w,), method="cg", rtol=1e-13)
            .sin()
            .sum()
        )
    )(weight)
    torch.testing.assert_close(found, wanted)


def test_integer_parameters_have_no_gradient():
    order = torch.tensor([2, 0, 1])

    def permuted(x, d, order):
        return torch.empty_like(x).index_copy(0, order, (d * x)[order])

    d, b = random(N).abs() + 1, random(N, seed=3)
    found = gradients(lambda d: solve(permuted, b, params=(d, order), method="cg", rtol=1e-13), d)
    assert_same(found, gradients(lambda d: b / d, d))


# Transforms.


@pytest.mark.parametrize(
    "options", [{"method": "cg"}, {"method": "exact"}, {"method": "exact", "hermitian": True}], ids=str
)
def test_transforms(options):
    A, b = definite(), random(N, 2)
    pairs = torch.stack([A, 2 * A])

    def ours(A, b):
        return solve(hermitian_part(A), b, rtol=1e-14, **options)

    def theirs(A, b):
        return inverse_solve(hermitian_part(A), b)

    def transformed(f):
        def loss(A):
            return f(A, b).sin().sum()

        return (
            *jacfwd(f, (0, 1))(A, b),
            *jacrev(f, (0, 1))(A, b),
            hessian(loss)(A),
            jacrev(jacfwd(loss))(A),
            jacfwd(jacfwd(loss))(A),
            vmap(f, (0, None))(pairs, b),
            vmap(f, (None, 1), 1)(A, b),
            vmap(vmap(f, (None, 0)), (0, 0))(pairs, torch.stack([b, -b])[:, None]),
            *vmap(grad(lambda A, b: f(A, b).sin().sum(), (0, 1)), (0, None))(pairs, b),
            *grad(lambda A, b: vmap(f, (0, None))(A, b).sin().sum(), (0, 1))(pairs, b),
            vmap(lambda t: jvp(f, (A, b), (t, b))[1])(pairs),
        )

    assert_same(transformed(ours), transformed(theirs))


def test_transforms_of_a_callable():
    d, V, b = random(4).abs() + 2, random(4, 2), random(4, 2, seed=7)
    pairs = torch.stack([d, 2 * d])

    def ours(d, V, b):
        return solve(product, b, params=(d, V), method="cg", rtol=1e-14)

    def theirs(d, V, b):
        return inverse_solve(full(d, V), b)

    def transformed(f):
        return (
            *jacfwd(f, (0, 1, 2))(d, V, b),
            *jacrev(f, (0, 1, 2))(d, V, b),
            hessian(lambda V: f(d, V, b).sin().sum())(V),
            jacfwd(jacfwd(lambda d: f(d, V, b).sin().sum()))(d),
            vmap(f, (0, None, None))(pairs, V, b),
            vmap(vmap(f, (0, None, None)), (None, 0, 0))(pairs, torch.stack([V, -V]), torch.stack([b, b])),
            *vmap(grad(lambda d, b: f(d, V, b).sin().sum(), (0, 1)), (0, None))(pairs, b),
            vmap(lambda d: jvp(lambda d: f(d, V, b), (d,), (d,))[1])(pairs),
        )

    assert_same(transformed(ours), transformed(theirs))


def test_vmap_is_the_loop():
    A, b, x0 = definite(3), random(3, N, seed=4), random(N, seed=8)

    def one(A, b):
        return solve(A, b, x0=x0, method="cg", rtol=1e-6)

    assert torch.equal(vmap(one)(A, b), torch.stack([one(A[i], b[i]) for i in range(3)]))


def test_forward_mode_is_the_finite_difference():
    A, b, dA, db = unsymmetric(), random(N), random(N, N, seed=8), random(N, seed=9)

    def function(A, b):
        return solve(A, b, method="gauss_seidel", rtol=1e-14)

    _, found = jvp(function, (A, b), (dA, db))
    h = 1e-6
    wanted = (function(A + h * dA, b + h * db) - function(A - h * dA, b - h * db)) / (2 * h)
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)


# torch.compile and autocast.


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"method": "cg"}, {"method": "sor", "omega": 1.1, "sweep": "backward"}, {"method": "exact"}, {"method": "auto"}],
    ids=str,
)
def test_one_compiled_graph(options):
    torch._dynamo.reset()

    def function(A, b):
        return solve(A, b, rtol=1e-12, adjoint_rtol=1e-11, **options).cos()

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for n in (N, N + 1, N + 2):  # sizes that change make them symbols, and floats with them
        A, b = definite(2, n=n), random(2, n, 2)
        assert torch.equal(compiled(A, b), function(A, b))
        for one, other in zip(gradients(compiled, A, b), gradients(function, A, b), strict=True):
            assert torch.equal(one, other)
    with pytest.raises(rv.InputError, match="A: entry"):
        compiled(A * torch.nan, b)


@pytest.mark.slow
def test_transforms_of_compiled_code():
    torch._dynamo.reset()
    A, b = definite(), random(N, 2)

    def loss(A, b):
        return solve(A, b, method="cg", rtol=1e-13).sin().sum()

    def transformed(A, b):
        # The first finds forward mode off, which the second must not go by.
        return vmap(lambda b: solve(A, b, method="cg", rtol=1e-13), 1, 1)(b), jvp(loss, (A, b), (A, 2 * b))[1]

    assert_same(torch.compile(transformed, backend="eager")(A, b), transformed(A, b))

    def function(A, b):
        return solve(A, b, method="cg", rtol=1e-13)

    compiled = torch.compile(function, backend="eager")
    assert_same([compiled(A, b)], [function(A, b)])
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(compiled(A, forward_ad.make_dual(b, 2 * b))).tangent
    assert_same([tangent], [2 * function(A, b)])


def test_what_breaks_a_graph_gives_the_same():
    torch._dynamo.reset()
    sparse, b = tridiagonal(), random(5)
    A, d = sparse.to_dense(), torch.tensor(2.0, dtype=torch.float64)

    def function(d, b):
        x, solves = solve(A, b, method="jacobi", return_solution=True)
        y = solve(sparse, x, method="jacobi") + solve(lambda x, d: d * x, b, params=(d,), method="cg")
        return y * solves.forward.iterations

    compiled = torch.compile(function, backend="eager")
    assert_same(gradients(compiled, d, b), gradients(function, d, b), rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_solved_in_single(dtype):
    A, b = definite().to(dtype).requires_grad_(), random(N).to(dtype).requires_grad_()
    x = solve(A, b, method="cg", rtol=1e-6)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, torch.linalg.solve(A.float(), b.float()), rtol=1e-5, atol=1e-6)
    x.sum().backward()
    assert A.grad.dtype == b.grad.dtype == dtype


@pytest.mark.parametrize("method", ["cg", "exact"])
def test_autocast_does_not_reach_the_solve(method):
    """Products in bfloat16 would end at a residual of 1e-3."""
    A, b = definite(n=8).float().requires_grad_(), random(8).float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x, solves = solve(A, b, method=method, rtol=1e-6, return_solution=True)
        assert x.dtype == torch.float32
        x.sin().sum().backward()
    assert solves.forward.relative_residual <= 1e-6
    assert solves.backward[0].relative_residual <= 1e-6
    wanted = torch.autograd.grad(torch.linalg.solve(A, b).sin().sum(), (A, b))
    assert_same((A.grad, b.grad), wanted, rtol=1e-5)


# Truncated solves.


@pytest.mark.parametrize("rtol", [1e-1, 1e-2, 1e-4])
@pytest.mark.parametrize("adjoint_rtol", [1e-1, 1e-3, 1e-12])
def test_bound_of_the_truncated_gradient(rtol, adjoint_rtol):
    n = 40
    Q, _ = torch.linalg.qr(random(n, n))
    A = Q @ torch.diag(torch.logspace(0, 2, n, dtype=torch.float64)) @ Q.mT
    A, b, g = hermitian_part(A), random(n, seed=1), random(n, seed=2)
    given, right = A.clone().requires_grad_(), b.clone().requires_grad_()
    x, solves = solve(given, right, method="cg", rtol=rtol, adjoint_rtol=adjoint_rtol, return_solution=True)
    x.backward(g)
    r, s = solves.forward.residual_norm, solves.backward[0].residual_norm
    assert r <= rtol * b.norm()
    assert s <= adjoint_rtol * g.norm()

    exact, w = torch.linalg.solve(A, b), torch.linalg.solve(A, g)
    inverse_norm, kappa = 1.0, 100.0
    rounding = 1e-10
    error = (given.grad + torch.outer(w, exact)).norm()
    bound = inverse_norm * (s * x.detach().norm() + w.norm() * r)
    assert error <= bound + rounding
    assert error <= (kappa * (rtol + adjoint_rtol) + kappa**2 * rtol * adjoint_rtol) * w.norm() * exact.norm()
    assert (right.grad - w).norm() <= inverse_norm * s + rounding
    assert error >= 1e-3 * bound  # a bound that says something
    assert (x.detach() - exact).norm() <= inverse_norm * r + rounding


def test_tolerances_forwards_and_backwards_are_separate():
    A, b = definite(n=30), random(30)
    A = A + torch.diag(torch.linspace(0, 50, 30, dtype=torch.float64))
    iterations = {}
    for rtol, adjoint_rtol in ((1e-2, 1e-10), (1e-10, 1e-2), (1e-10, None)):
        x, solves = solve(
            A.requires_grad_(), b, method="cg", rtol=rtol, adjoint_rtol=adjoint_rtol, return_solution=True
        )
        x.sum().backward()
        iterations[rtol, adjoint_rtol] = solves.forward.iterations, solves.backward[0].iterations
    assert iterations[1e-2, 1e-10][0] < 0.5 * iterations[1e-2, 1e-10][1]
    assert iterations[1e-10, 1e-2][1] < 0.5 * iterations[1e-10, 1e-2][0]
    assert iterations[1e-10, None][1] > 2 * iterations[1e-10, 1e-2][1]
    _, tangent = jvp(lambda b: solve(A.detach(), b, method="cg", rtol=1e-10, adjoint_rtol=1e-1), (b,), (b,))
    assert 1e-6 < (A @ tangent - b).norm() / b.norm() <= 1e-1


# What is said of the solves.


def test_systems_of_a_batch_stop_by_themselves():
    n = 20
    scales = torch.stack([torch.ones(n), torch.linspace(1, 100, n)]).double()
    A, b = torch.diag_embed(scales).requires_grad_(), random(2, n)
    x, solves = solve(A, b, method="cg", rtol=1e-10, return_solution=True)
    x.backward(torch.stack([torch.zeros(n), torch.ones(n)]).double())
    assert solves.forward.iterations[0, 0] == 1
    assert solves.forward.iterations[1, 0] > 5
    assert solves.backward[0].iterations[0, 0] == 0
    assert solves.backward[0].iterations[1, 0] > 5
    torch.testing.assert_close(x, b / scales)


def test_unconverged_solves_are_named():
    A, b = torch.diag(torch.linspace(1, 1e4, 30, dtype=torch.float64)), random(30)

    def function(A, b, **options):
        return solve(A, b, method="cg", rtol=1e-10, **options)

    with pytest.warns(rv.ConvergenceWarning, match="^forward solve: iteration limit") as caught:
        function(A, b, maxiter=3)
    assert [warning.filename for warning in caught] == [__file__]
    x, solves = function(A.clone().requires_grad_(), b, adjoint_maxiter=3, return_solution=True)
    assert solves.forward.converged
    with pytest.warns(rv.ConvergenceWarning, match="^backward solve: iteration limit") as caught:
        x.sum().backward()
    assert [warning.filename for warning in caught] == [__file__]
    assert not solves.backward[0].converged
    with pytest.warns(rv.ConvergenceWarning, match="^tangent solve: iteration limit") as caught:
        jvp(lambda b: function(A, b, adjoint_maxiter=3), (b,), (b,))
    assert len(caught) == 1
    with pytest.warns(rv.ConvergenceWarning, match="^forward solve: .*1 of 2 systems"):
        function(torch.stack([A, torch.eye(30).double()]), torch.stack([b, b]), maxiter=3)


def test_cg_on_an_indefinite_matrix_says_so():
    A = torch.diag(torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64))
    with pytest.warns(rv.ConvergenceWarning, match="not positive definite"):
        solve(A, torch.ones(3, dtype=torch.float64), method="cg")


def test_the_record_holds_every_solve():
    A, b = definite(), random(N)
    x, solves = solve(A.requires_grad_(), b, method="cg", return_solution=True)
    assert torch.equal(solves.forward.x.reshape(-1), x.detach())
    assert solves.backward == solves.tangent == []
    (first,) = torch.autograd.grad(x.sin().sum(), A, create_graph=True)
    assert len(solves.backward) == 1
    first.sum().backward()
    assert len(solves.backward) == 3
    assert all(solution.converged for solution in solves.backward)


@pytest.mark.parametrize("method", ["cg", "exact"])
def test_a_gradient_that_overflowed_gives_nan_and_says_so(method):
    """As loss scaling relies on; other systems of the batch keep their gradients."""
    A, b = definite(2).requires_grad_(), random(2, N).requires_grad_()
    x = solve(A, b, method=method, rtol=1e-12)
    cotangent = torch.ones_like(x)
    cotangent[0, 1] = math.inf
    with pytest.warns(rv.ConvergenceWarning, match="^backward solve: .*not finite"):
        x.backward(cotangent)
    assert b.grad[0].isnan().all()
    assert A.grad[0].isnan().all()
    torch.testing.assert_close(b.grad[1], torch.linalg.solve(A[1], cotangent[1]).detach())


@pytest.mark.parametrize("method", METHODS)
def test_a_zero_right_hand_side(method):
    A, b = definite().requires_grad_(), torch.zeros(N, dtype=torch.float64).requires_grad_()
    x = solve(A, b, method=method, rtol=1e-12)
    assert torch.equal(x, torch.zeros_like(x))
    x.sum().backward()
    assert torch.equal(A.grad, torch.zeros_like(A))
    torch.testing.assert_close(b.grad, torch.linalg.solve(A, torch.ones_like(b)).detach())


@pytest.mark.parametrize("method", ["cg", "exact", "auto"])
@pytest.mark.parametrize(
    ("A_shape", "b_shape"),
    [((0, 0), (0,)), ((0, 0), (0, 2)), ((0, 0), (2, 0, 1)), ((N, N), (N, 0)), ((N, N), (0, N, 2)), ((0, N, N), (0, N))],
)
def test_empty_systems(method, A_shape, b_shape):
    A = torch.zeros(A_shape, dtype=torch.float64) + torch.eye(A_shape[-1], dtype=torch.float64)
    b = torch.zeros(b_shape, dtype=torch.float64).requires_grad_()
    x = solve(A.requires_grad_(), b, method=method)
    assert x.shape == b_shape
    x.sum().backward()
    assert b.grad.shape == b_shape
    assert torch.equal(A.grad, torch.zeros_like(A))


# Factorisation, and another method for the adjoint.


def test_auto_factorises_what_no_method_fits():
    A = torch.tensor([[0.0, 2.0, 1.0], [1.0, 0.0, 3.0], [4.0, 1.0, 0.0]], dtype=torch.float64)
    b = random(N)
    x, solves = solve(A, b, return_solution=True)
    torch.testing.assert_close(x, torch.linalg.solve(A, b))
    assert solves.forward.converged
    assert_same(gradients(lambda A, b: solve(A, b), A, b), gradients(torch.linalg.solve, A, b))


def test_auto_factorises_a_small_full_matrix_once(monkeypatch):
    found = []
    factorise = torch.linalg.lu_factor_ex
    monkeypatch.setattr(torch.linalg, "lu_factor_ex", lambda A: found.append(A.shape) or factorise(A))
    A, b = definite(2), random(2, N)
    A.requires_grad_()
    x, solves = solve(A, b, return_solution=True)
    x.sin().sum().backward()
    assert found == [A.shape]
    assert (solves.forward.method, solves.backward[0].method) == ("exact", "exact")
    torch.testing.assert_close(x, torch.linalg.solve(A, b))


def test_auto_backwards_factorises_too():
    A, b = unsymmetric().requires_grad_(), random(N)
    x, solves = solve(A, b, method="gauss_seidel", adjoint_method="auto", rtol=1e-12, return_solution=True)
    x.sin().sum().backward()
    assert (solves.forward.method, solves.backward[0].method) == ("gauss_seidel", "exact")
    wanted = torch.autograd.grad(inverse_solve(A, b).sin().sum(), A)
    assert_same((A.grad,), wanted)


@pytest.mark.parametrize("given", [{"x0": True}, {"M": True}, {"precision": "fp32"}])
def test_auto_iterates_with_what_is_for_iterations(given):
    A, b = definite(), random(N)
    tensors = {"x0": 0.1 * b, "M": torch.linalg.inv(A)}
    _, solves = solve(A, b, return_solution=True, **{name: tensors.get(name, value) for name, value in given.items()})
    assert solves.forward.method == "cg"
    assert solves.forward.iterations > 0


def test_auto_iterates_on_many_unknowns(monkeypatch):
    A, b = definite(), random(N)
    monkeypatch.setattr(sys.modules["resolvent.layers.linear.exact"], "MOST_UNKNOWNS", N - 1)
    _, solves = solve(A.requires_grad_(), b, return_solution=True)
    assert solves.forward.method == "cg"


def test_auto_iterates_where_factors_do_not_meet_the_tolerance():
    """A is singular, and b is in its range: elimination meets a zero pivot, iterations do not."""
    A = torch.diag(torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64))
    A[:2, :2] += 0.5
    b = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    x, solves = solve(A, b, rtol=1e-10, return_solution=True)
    assert solves.forward.method == "minres"
    torch.testing.assert_close(A @ x, b)


def test_auto_tries_cholesky_where_a_is_known_to_be_hermitian(monkeypatch):
    tried = []
    factorise = torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda A: tried.append(A.shape) or factorise(A))
    indefinite = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
    for A in (definite(), indefinite):
        b = random(A.shape[-1])
        torch.testing.assert_close(solve(A, b, hermitian=True), torch.linalg.solve(A, b))
        assert_same(
            gradients(lambda A, b: solve(A, b, hermitian=True), A, b), gradients(torch.linalg.solve, A, b), rtol=1e-7
        )
    assert len(tried) == 4


def test_the_numbers_are_those_of_the_solver():
    A, b = definite(), random(N)
    wanted = rv.cg(A.numpy(), b.numpy(), rtol=1e-9)
    for given in (A, A.to_sparse_csr()):
        x, solves = solve(given, b, method="cg", rtol=1e-9, return_solution=True)
        assert solves.forward.backend == "numba"
        torch.testing.assert_close(x, torch.from_numpy(wanted.x), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(solve(A, b, method="cg", rtol=1e-9).numpy(), wanted.x)


@pytest.mark.slow
def test_no_names_are_bound_outside_of_transforms(monkeypatch):
    """As torch does for a context that is set up apart: it takes as long as a small solve."""
    A, b = definite().requires_grad_(), random(N)
    solve(A, b, method="cg").sum().backward()

    def refuse(*arguments, **options):
        raise AssertionError("names were bound")

    monkeypatch.setattr("inspect.signature", refuse)
    solve(A, b, method="cg", rtol=1e-12).sum().backward()
    monkeypatch.undo()
    assert torch.autograd.gradcheck(lambda A, b: solve(hermitian_part(A), b, method="cg", rtol=1e-13), (A, b))


@pytest.mark.parametrize("integers", [torch.int32, torch.int64])
def test_the_transpose_of_a_pattern(integers):
    """Columns in any order, an entry twice, an empty row and an empty column."""
    from resolvent.layers.linear.maps import Pattern

    starts, columns = torch.tensor([0, 3, 3, 5], dtype=integers), torch.tensor([2, 0, 2, 0, 0], dtype=integers)
    values = torch.arange(1.0, 6.0, dtype=torch.float64)
    pattern = Pattern(starts, columns)
    transposed, order = pattern.transposed
    assert transposed.starts.tolist() == [0, 3, 3, 5]
    assert transposed.columns.tolist() == [0, 2, 2, 0, 0]
    assert order.tolist() == [1, 3, 4, 0, 2]
    assert transposed.starts.dtype == transposed.columns.dtype == integers
    torch.testing.assert_close(transposed.matrix(values[order]).to_dense(), pattern.matrix(values).to_dense().mT)


def test_exact_is_a_solution_like_any_other():
    A, b = unsymmetric(2), random(2, N)
    x, solves = solve(A, b, method="exact", return_solution=True, rtol=1e-14)
    solution = solves.forward
    assert solution.method == "exact"
    assert solution.converged
    assert solution.iterations.tolist() == [[0], [0]]
    residual = (b - (A @ x[..., None])[..., 0]).norm(dim=-1) / b.norm(dim=-1)
    torch.testing.assert_close(torch.tensor(solution.relative_residual[:, 0]), residual, rtol=0.5, atol=1e-16)
    assert (solution.backward_error <= 1e-15).all()
    assert "factorised" in solution.systems[0].reason
    assert "2 systems" in str(solution)


def test_exact_says_when_it_is_not():
    """A residual of u ||A|| ||x|| is far above 1e-5 ||b|| here, in single precision."""
    A = torch.tensor([[1.0, 1.0], [1.0, 1.0 + 2.0**-22]])
    b = torch.tensor([1.0, -1.0 / 3])
    with pytest.warns(rv.ConvergenceWarning, match="forward solve: .*nearly singular"):
        _, solves = solve(A, b, method="exact", rtol=1e-7, return_solution=True)
    assert not solves.forward.converged


@pytest.mark.parametrize(("method", "adjoint_method"), [("cg", "exact"), ("exact", "cg"), ("jacobi", "sor")])
def test_another_method_for_the_adjoint(method, adjoint_method):
    A, b = definite(), random(N, 2)
    parameters = {"omega": 1.1} if adjoint_method == "sor" else None

    def ours(A, b):
        x, solves = solve(
            A,
            b,
            method=method,
            rtol=1e-13,
            adjoint_method=adjoint_method,
            adjoint_parameters=parameters,
            return_solution=True,
        )
        seen.append(solves)
        return x

    seen = []
    assert_same(gradients(ours, A, b), gradients(torch.linalg.solve, A, b))
    assert seen[0].forward.method == method
    assert seen[0].backward[0].method == adjoint_method


def test_sweeps_of_the_adjoint_run_the_other_way():
    """One forward sweep solves a lower triangular system, and one backward sweep its transpose."""
    A, b = torch.tril(random(6, 6)) + 3 * torch.eye(6, dtype=torch.float64), random(6)
    x, solves = solve(A.requires_grad_(), b, method="gauss_seidel", rtol=1e-12, return_solution=True)
    x.sum().backward()
    assert solves.forward.iterations == solves.backward[0].iterations == 1


def test_preconditioners_of_the_adjoint():
    A, b = unsymmetric(n=6), random(6)
    A = A * torch.linspace(1, 30, 6, dtype=torch.float64)[:, None]
    M = torch.linalg.inv(A) + random(6, 6, seed=9) / 1e4
    options = {"method": "richardson", "omega": 1.0, "rtol": 1e-12}

    def ours(A, b):
        x, solves = solve(A, b, M=M, return_solution=True, **options)
        seen.append(solves)
        return x

    seen = []
    assert_same(gradients(ours, A, b), gradients(torch.linalg.solve, A, b))
    assert seen[0].backward[0].iterations <= 20
    with pytest.raises(rv.InputError, match="adjoint_M: richardson"):
        solve(A, b, M=lambda x: M @ x, **options)
    M_object = rv.precondition.jacobi(definite(n=6))
    assert solve(definite(n=6), b, M=M_object, method="cg", rtol=1e-10, return_solution=True)[1].forward.converged


def test_exact_with_cholesky():
    A, b = definite(2), random(2, N, 2)

    def ours(A, b):
        return solve(A, b, method="exact", hermitian=True, rtol=1e-13)

    assert_same(gradients(ours, A, b), gradients(torch.linalg.solve, A, b))
    with pytest.raises(rv.InputError, match=r"A: system \(1,\) is not positive definite"):
        ours(torch.stack([A[0], -A[0]]), b)
    with pytest.raises(rv.NotHermitianError, match="A: is not Hermitian"):
        ours(unsymmetric(), b[0])


def test_every_solve_of_a_training_loop_descends():
    """A fit of a diagonal through the solve ends at the diagonal."""
    wanted, b = torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64), random(3, 8)
    logs = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logs], max_iter=50, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def closure():
        optimiser.zero_grad()
        x = solve(torch.diag(logs.exp()) + 0.5, b, method="cg", rtol=1e-12)
        loss = (x - torch.linalg.solve(torch.diag(wanted) + 0.5, b)).square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    torch.testing.assert_close(logs.exp().detach(), wanted, rtol=1e-5, atol=0)


# Bad input.


def bad(message, error=rv.InputError, **changes):
    return pytest.param(message, error, changes, id=message)


EYE = torch.eye(3, dtype=torch.float64)
ONES = torch.ones(3, dtype=torch.float64)
WEIGHT = torch.nn.Parameter(EYE.clone())


def unchecked(starts, columns, values):
    """A CSR tensor (3, 3) that torch was told not to check, with so many ones."""
    parts = torch.tensor(starts), torch.tensor(columns), torch.ones(values, dtype=torch.float64)
    return torch.sparse_csr_tensor(*parts, (3, 3), check_invariants=False)


@pytest.mark.parametrize(
    ("message", "error", "changes"),
    [
        bad("A: found shape (3, 2)", A=EYE[:, :2]),
        bad("A: found shape (3,)", A=ONES),
        bad("b: found shape (4,) for A of shape (3, 3)", b=torch.ones(4)),
        bad("b: found shape (2, 4) for A of shape (3, 3)", b=torch.ones(2, 4)),
        bad("b: found shape (2, 4) for A of shape (2, 3, 3)", A=torch.stack([EYE, EYE]), b=torch.ones(2, 4)),
        bad("b: found shape (4, 3, 1) for A of shape (2, 3, 3)", A=torch.stack([EYE, EYE]), b=torch.ones(4, 3, 1)),
        bad("x0: found shape (2,)", x0=torch.ones(2)),
        bad("A: found torch.int64", TypeError, A=torch.eye(3, dtype=torch.int64)),
        bad("b: found torch.int32", TypeError, b=torch.ones(3, dtype=torch.int32)),
        bad("b: found torch.bool", TypeError, b=torch.ones(3, dtype=torch.bool)),
        bad("A: found list", TypeError, A=[[1.0]]),
        bad("b: found list", TypeError, b=[1.0, 2.0, 3.0]),
        bad("A: entry (0, 0) is nan", A=EYE * torch.nan),
        bad("b: entry", b=ONES * math.inf),
        bad("x0: entry", x0=ONES * math.nan),
        bad("A: entry (0, 0) is nan", A=EYE * torch.nan, method="exact"),
        bad("b: entry", b=ONES * math.nan, method="exact"),
        bad("A: is exactly singular", rv.SingularError, A=torch.ones(3, 3), method="exact"),
        bad("A: cg needs a symmetric", rv.NotHermitianError, A=torch.triu(torch.ones(3, 3))),
        bad("A: lies on cpu, but b on meta", rv.BackendError, b=torch.ones(3, device="meta")),
        bad("layout torch.sparse_coo", rv.BackendError, A=EYE.to_sparse_coo()),
        bad("b: found a tensor of layout", rv.BackendError, b=ONES.to_sparse_coo()),
        bad('"exact" factorises a full A, but A is sparse', A=EYE.to_sparse_csr(), method="exact"),
        bad('"exact" factorises a full A, but A is matrix-free', A=lambda x: x, method="exact"),
        bad('"exact" factorises', A=lambda x: x, adjoint_method="exact"),
        bad("method: found 'lu'; wanted one of auto, exact, cg", method="lu"),
        bad("adjoint_method: found 'lu'", adjoint_method="lu"),
        bad("omega: cg has no such parameter", omega=1.0),
        bad("adjoint_omega: cg has no such", adjoint_parameters={"omega": 1.0}),
        bad("omega: exact has no such parameter", method="exact", omega=1.0),
        bad("M: a factorisation takes none", method="exact", M=EYE),
        bad("rtol: found -1", rtol=-1),
        bad("adjoint_rtol: found 2", adjoint_rtol=2),
        bad("adjoint_atol: found nan", adjoint_atol=math.nan),
        bad("adjoint_maxiter: found 1.5", TypeError, adjoint_maxiter=1.5),
        bad("params: are for a callable", params=(ONES,)),
        bad("rmatvec: is for a callable", rmatvec=lambda x: x),
        bad("params: found 2", A=EYE.to_sparse_csr(), params=(ONES, ONES)),
        bad("A: row 1 holds column 9", A=unchecked([0, 1, 2, 3], [0, 9, 2], 3)),
        bad("A: row 2 ends at entry 9", A=unchecked([0, 1, 2, 9], [0, 1, 2], 3)),
        bad("A: holds 4 values, of which its rows name 3", A=unchecked([0, 1, 2, 3], [0, 1, 2, 0], 4)),
        bad("params[0]: found shape (2,)", A=EYE.to_sparse_csr(), params=(ONES[:2],)),
        bad("params[1]: found float", TypeError, A=lambda x, s, t: x, params=(ONES, 1.0)),
        bad("its product with a vector of shape (3,) is (2,)", A=lambda x: x[:2]),
        bad("its product with a vector of shape (3,) is float", A=lambda x: 1.0),
        bad("leave out the bias", A=torch.nn.Linear(3, 3, dtype=torch.float64)),
        bad("derivatives would be lost", A=lambda x: WEIGHT @ x),
        bad("only multiplies", A=lambda x: x, method="jacobi"),
        bad("b: found a number", A=lambda x: x, b=torch.tensor(1.0)),
    ],
)
def test_bad_input(message, error, changes):
    arguments = {"A": EYE, "b": ONES, "method": "cg", **changes}
    with pytest.raises(error) as caught:
        solve(arguments.pop("A"), arguments.pop("b"), **arguments)
    assert message in str(caught.value)


def test_tensors_hidden_from_forward_mode_are_refused():
    with pytest.raises(rv.InputError, match="derivatives would be lost"):
        jvp(lambda s: solve(lambda x: s * x, ONES, method="cg"), (ONES,), (ONES,))


def test_bad_entries_of_a_batch_are_found():
    A = torch.stack([EYE, EYE])
    A[1, 2, 0] = math.nan
    for method in ("cg", "exact"):
        with pytest.raises(rv.InputError, match="A: entry"):
            solve(A, torch.ones(2, 3, dtype=torch.float64), method=method)


def test_nothing_is_written_to_the_arguments():
    A, b, x0 = definite(), random(N), random(N, seed=5)
    copies = [tensor.clone() for tensor in (A, b, x0)]
    for method in METHODS:
        solve(A, b, x0=x0, method=method)
    for one, other in zip((A, b, x0), copies, strict=True):
        assert torch.equal(one, other)


def test_warnings_elsewhere_are_as_before():
    """A solve of the solvers, beside one of the layers, warns in its own words."""
    A, b = torch.diag(torch.linspace(1, 1e4, 30, dtype=torch.float64)), random(30)
    solve(A, b, method="cg", rtol=1e-3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rv.cg(A, b, maxiter=2)
    assert [str(warning.message)[:24] for warning in caught] == ["iteration limit reached:"]


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
def test_cuda(method):
    A, b = definite().cuda(), random(N, 2).cuda()
    found = gradients(lambda A, b: solve(A, b, method=method, rtol=1e-12), A, b)
    assert all(gradient.is_cuda for gradient in found)
    assert_same(found, gradients(torch.linalg.solve, A, b))


def hostile_products(way):
    def A(v, S):
        product = S @ v
        with torch.no_grad():
            v.mul_(3) if way == "scales" else v.zero_()
        return product

    return A


@pytest.mark.parametrize("way", ["scales", "clears"])
@pytest.mark.parametrize("hermitian", [True, False])
def test_a_callable_that_writes_into_what_it_got(hermitian, way):
    S = 2 * torch.eye(4, dtype=torch.float64) + 0.25
    b = torch.tensor([1.0, -1, 2, 3], dtype=torch.float64, requires_grad=True)
    options = {"params": (S,), "method": "cg", "hermitian": hermitian, "rtol": 1e-12, "adjoint_rtol": 1e-12}
    x = solve(hostile_products(way), b, rmatvec=None if hermitian else hostile_products(way), **options)
    torch.testing.assert_close(x, torch.linalg.solve(S, b))
    x.sum().backward()
    torch.testing.assert_close(b.grad, torch.linalg.solve(S, torch.ones_like(b)))


def test_meta_tensors_are_refused():
    A, b = torch.eye(3, device="meta"), torch.ones(3, device="meta")
    for call in (lambda: solve(A, b), lambda: solve(A, b, method="exact"), lambda: solve(lambda v: 2 * v, b)):
        with pytest.raises(rv.BackendError, match="b: is a meta tensor"):
            call()


@pytest.mark.parametrize("M", ["jacobi", "ssor", "chebyshev"])
def test_preconditioners_are_named(M):
    A, b = definite(n=6, dtype=torch.float64).requires_grad_(), torch.ones(6, dtype=torch.float64)
    options = {"method": "cg", "rtol": 1e-12}
    x, solves = solve(A, b, M=M, return_solution=True, **options)
    (gradient,) = torch.autograd.grad(x.sum(), A)
    assert solves.forward.preconditioned
    assert solves.backward[0].preconditioned
    torch.testing.assert_close(gradient, torch.autograd.grad(torch.linalg.solve(A, b).sum(), A)[0])
    with pytest.raises(ValueError, match=r"^M: found 'jakobi'.*did you mean 'jacobi'"):
        solve(A, b, M="jakobi", **options)


def test_factors_precondition_with_their_adjoints_backwards():
    A = torch.eye(6, dtype=torch.float64) * 3 + torch.triu(torch.ones(6, 6, dtype=torch.float64))
    M = scipy.sparse.linalg.splu(scipy.sparse.csc_array(A.numpy()))
    x, solves = solve(
        A.requires_grad_(), torch.ones(6, dtype=torch.float64), M=M, method="gmres", rtol=1e-10, return_solution=True
    )
    x.sum().backward()
    assert solves.forward.iterations == solves.backward[0].iterations == 1


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("method", ["cg", "bicgstab"])
def test_multigrid_preconditions_both_solves(method, named):
    matrix = rv.gallery.poisson((13, 13)).A.tocsr()
    values, b = torch.from_numpy(matrix.data.copy()), random(169)
    places = torch.from_numpy(matrix.indptr), torch.from_numpy(matrix.indices)
    M = "multigrid" if named else rv.precondition.multigrid(matrix)

    def solution(values, b):
        A = torch.sparse_csr_tensor(*places, values, matrix.shape)
        return solve(A, b, method=method, M=M, rtol=1e-11)

    found = gradients(solution, values, b)

    def dense(values, b):
        rows = torch.repeat_interleave(torch.arange(169), places[0].diff())
        return inverse_solve(torch.zeros(169, 169, dtype=torch.float64).index_put((rows, places[1].long()), values), b)

    for one, other in zip(found, gradients(dense, values, b), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-8)
