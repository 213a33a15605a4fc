"""Lyapunov's and Sylvester's equations: self-adjoint, differentiable, and alike by eigenvectors and by products."""

import pytest
import scipy.linalg

import resolvent as rv

torch = pytest.importorskip("torch")

from known_spectra import definite, drawn, hermitian_part, off, with_eigenvalues  # noqa: E402
from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

from resolvent.layers import solve_lyapunov, solve_sylvester  # noqa: E402
from resolvent.layers.matrix_functions.equations import Equation  # noqa: E402

pytestmark = pytest.mark.filterwarnings("error::resolvent.ConvergenceWarning")
kinds = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
ways = pytest.mark.parametrize("equations", ["eigh", "products"])


@ways
@kinds
def test_derivatives_of_lyapunovs_equation(dtype, equations):
    tensors = [drawn(2, 2, dtype=dtype).requires_grad_(), drawn(2, 2, 2, dtype=dtype, seed=1).requires_grad_()]

    def function(A, C):
        return solve_lyapunov(definite(A), C, equations=equations)

    assert gradcheck(function, tensors, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(function, tensors, fast_mode=True, atol=1e-4)


@ways
@kinds
def test_derivatives_of_sylvesters_equation(dtype, equations):
    shapes = ((2, 2), (1, 1), (2, 1))
    tensors = [drawn(*shape, dtype=dtype, seed=k).requires_grad_() for k, shape in enumerate(shapes)]

    def function(A, B, C):
        return solve_sylvester(definite(A), definite(B), C, equations=equations)

    assert gradcheck(function, tensors, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(function, tensors, fast_mode=True, atol=1e-4)


@kinds
def test_solutions_are_those_of_scipy(dtype):
    A, B, C = definite(drawn(5, 5, dtype=dtype)), definite(drawn(3, 3, dtype=dtype, seed=1)), drawn(5, 3, dtype=dtype)
    wanted = torch.as_tensor(scipy.linalg.solve_sylvester(A.numpy(), B.numpy(), C.numpy()))
    assert off(solve_sylvester(A, B, C), wanted) < 1e-11
    assert off(Equation()(A, B, C), wanted) < 1e-13
    assert off(solve_lyapunov(A, A), 0.5 * torch.eye(5, dtype=dtype)) < 1e-11


@kinds
@pytest.mark.parametrize("p", [2, 3, 5])
def test_the_equation_is_solved_and_its_solution_self_adjoint(p, dtype):
    A, B = with_eigenvalues([1.0, 2.0, 2.0], dtype), with_eigenvalues([0.5, 3.0], dtype, seed=1)
    R, Q = drawn(3, 2, dtype=dtype, seed=2), drawn(3, 2, dtype=dtype, seed=3)
    X, Y = Equation(p)(A, B, R), Equation(p)(A, B, Q)
    left = sum(torch.linalg.matrix_power(A, i) @ X @ torch.linalg.matrix_power(B, p - 1 - i) for i in range(p))
    assert off(left, R) < 1e-12
    assert abs(complex(torch.sum(X.conj() * Q) - torch.sum(R.conj() * Y))) < 1e-12


@pytest.mark.parametrize("n", [16, 64])
def test_eigenvectors_and_products_are_accurate_alike(n):
    A = with_eigenvalues(torch.logspace(0, -3, n, dtype=torch.float64))
    X = drawn(n, n)
    R = A @ X + X @ A
    assert off(Equation()(A, R), X) < 1e-12
    assert off(solve_lyapunov(A, R), X) < 1e-11


def test_gradient_of_the_coefficient_is_symmetric():
    A = definite(drawn(3, 3)).requires_grad_()
    (found,) = torch.autograd.grad(solve_lyapunov(A, drawn(3, 3, seed=1)).sin().sum(), A)
    assert torch.equal(found, found.mT)


def test_right_hand_sides_are_broadcast_and_one_coefficient_serves_all():
    A, C = definite(drawn(3, 3)).requires_grad_(), drawn(4, 3, 3, seed=1)
    together = solve_lyapunov(A, C)
    assert together.shape == (4, 3, 3)
    (found,) = torch.autograd.grad(together.sin().sum(), A)
    each = [torch.autograd.grad(solve_lyapunov(A, one).sin().sum(), A)[0] for one in C]
    assert off(found, sum(each)) < 1e-12


def test_real_and_complex_meet():
    A, C = definite(drawn(3, 3)).requires_grad_(), drawn(3, 3, dtype=torch.complex128)
    X = solve_lyapunov(A, C)
    assert X.dtype == torch.complex128
    B = A.detach().to(X.dtype)
    assert off(B @ X.detach() + X.detach() @ B, C) < 1e-11
    assert torch.autograd.grad(X.abs().sum(), A)[0].dtype == torch.float64


def test_bad_equations_are_refused():
    A = definite(drawn(3, 3))
    with pytest.raises(rv.InputError, match=r"C: found shape \(2, 2\); wanted \(..., 3, 3\), to fit A"):
        solve_lyapunov(A, torch.ones(2, 2))
    with pytest.raises(rv.InputError, match=r"C: found shape \(3, 3\); wanted \(..., 3, 2\), to fit A and B"):
        solve_sylvester(A, torch.eye(2), torch.ones(3, 3))
    with pytest.raises(rv.InputError, match=r"A, C: found leading dimensions .*; wanted some that fit"):
        solve_lyapunov(A.expand(2, 3, 3), torch.ones(5, 3, 3))
    with pytest.raises(rv.NotHermitianError, match="A: "):
        solve_lyapunov(A + torch.triu(A), A)
    with pytest.raises(rv.InputError, match="equations: found 'schur'"):
        solve_lyapunov(A, A, equations="schur")
    with pytest.raises(rv.InputError, match="method: found 'forward'; wanted one of implicit, unrolled, checkpoint"):
        solve_lyapunov(A, A, method="forward")
    with pytest.raises(rv.InputError, match=r"scaling: found 'power'; .* with method='unrolled'"):
        solve_sylvester(A, A, A, method="unrolled", scaling="power")
    with pytest.warns(rv.ConvergenceWarning, match="^solve_lyapunov: .*not positive definite"):
        solve_lyapunov(with_eigenvalues([3.0, 2.0, -1.0]) + torch.zeros(3, 3), hermitian_part(drawn(3, 3)))
