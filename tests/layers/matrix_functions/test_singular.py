"""Where derivatives divide by zero: refused, bounded or left out, as the caller says, and never NaN."""

import pytest

import resolvent as rv

torch = pytest.importorskip("torch")

from known_spectra import (  # noqa: E402
    drawn,
    gradient,
    hermitian_part,
    off,
    orthonormal,
    with_eigenvalues,
    with_singular_values,
)

from resolvent import layers  # noqa: E402


def lacking_rank():
    """Exactly: two rows and two columns of zeros, and a part of full rank."""
    A = torch.zeros(4, 4, dtype=torch.float64)
    A[:2, :2] = torch.tensor([[2.0, 1.0], [0.5, 3.0]])
    return A


CASES = {
    "orthogonalize": (layers.orthogonalize, lacking_rank()),
    "orthogonalize, tall": (layers.orthogonalize, lacking_rank()[:, :3]),
    "orthogonalize, wide": (layers.orthogonalize, lacking_rank()[:3]),
    "polar": (lambda A, **how: layers.polar(A, **how)[1], lacking_rank()),
    "matrix_sign": (layers.matrix_sign, hermitian_part(lacking_rank())),
    "sqrtm": (layers.sqrtm, lacking_rank() @ lacking_rank().mT),
}


@pytest.mark.parametrize(("function", "A"), CASES.values(), ids=CASES)
def test_policies(function, A):
    G = drawn(*function(A).shape, seed=1)
    with pytest.raises(rv.SingularError, match=r"is not differentiable here: .* add a ridge, or pass singular="):
        gradient(function, A, G)
    zero = gradient(lambda A: function(A, singular="zero"), A, G)
    clamp = gradient(lambda A: function(A, singular="clamp"), A, G)
    assert zero.isfinite().all()
    assert clamp.isfinite().all()
    assert torch.linalg.norm(zero) < 10 * torch.linalg.norm(G)


@pytest.mark.parametrize(("function", "A"), CASES.values(), ids=CASES)
def test_forward_mode_has_the_same_policies(function, A):
    E = A @ A.mT @ A if A.shape[0] == A.shape[1] else drawn(*A.shape, seed=1)
    E = E + drawn(*A.shape, seed=2)
    E = hermitian_part(E) if torch.equal(A, A.mT) else E
    with pytest.raises(rv.SingularError, match="is not differentiable here"):
        torch.func.jvp(function, (A,), (E,))
    for singular in ("zero", "clamp"):
        _, tangent = torch.func.jvp(lambda A, singular=singular: function(A, singular=singular), (A,), (E,))
        assert tangent.isfinite().all()


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)], ids=str)
def test_zero_is_the_derivative_at_constant_rank(shape):
    """Of the partial isometry of a matrix of rank 2, along those of rank 2."""
    left, right, G = drawn(shape[0], 2), drawn(2, shape[1], seed=1), drawn(*shape, seed=2)
    A = lacking_rank()[:2, :2]
    # In the leading places everything is the function of the 2 by 2 matrix, and zero elsewhere.
    whole = torch.zeros(shape, dtype=torch.float64)
    whole[:2, :2] = A
    found = gradient(lambda A: layers.orthogonalize(A, singular="zero"), whole, G)
    E = whole @ right.mT @ right + left @ left.mT @ whole  # keeps the rank

    def isometry(A):
        U, _, V = torch.linalg.svd(A)
        return U[:, :2] @ V[:2]

    step = 1e-5
    wanted = (G * (isometry(whole + step * E) - isometry(whole - step * E))).sum() / (2 * step)
    assert abs(float((found * E).sum() - wanted)) < 1e-7 * max(1.0, abs(float(wanted)))


def test_one_singular_value_of_zero_does_no_harm_to_the_others():
    """Of a real square matrix, whose U exists and turns smoothly but for the sign of one column."""
    A = with_singular_values([3.0, 2.0, 1e-18], 3, 3)
    U = layers.orthogonalize(A)
    assert off(U.mT @ U, torch.eye(3, dtype=torch.float64)) < 1e-10
    G = drawn(3, 3, seed=1)
    found = gradient(layers.orthogonalize, A, G)
    (_, _, H), C = (None, None, hermitian_part(U.mT @ A)), U.mT @ G
    x, V = torch.linalg.eigh(H)
    omega = V.mT @ (C - C.mT) @ V / (x[:, None] + x + torch.eye(3))  # whose diagonal is zero in any case
    assert off(found, U @ V @ omega @ V.mT) < 1e-10


def test_clamp_bounds_and_leaves_the_rest():
    A, G = with_eigenvalues([4.0, 1.0, 0.0]), hermitian_part(drawn(3, 3, seed=1))
    found = gradient(lambda A: layers.sqrtm(A, singular="clamp"), A, G)
    zero = gradient(lambda A: layers.sqrtm(A, singular="zero"), A, G)
    v = torch.linalg.eigh(A)[1][:, 0]
    largest = 4  # sum of two eigenvalues of the root
    bound = float(v @ G @ v) / (largest * (3 * torch.finfo(torch.float64).eps) ** 0.5)
    assert off(found - zero, bound * torch.outer(v, v)) < 1e-6


def bures_wasserstein(A, B, **how):
    """The squared distance of two centred Gaussians with these covariances."""
    S = layers.sqrtm(A, **how)
    return A.trace() + B.trace() - 2 * layers.sqrtm(hermitian_part(S @ B @ S), **how).trace()


def closed_form(L, B):
    """The gradient of the distance of L L^T from B with respect to L, of full column rank."""
    x, V = torch.linalg.eigh(L.mT @ B @ L)
    return 2 * L - 2 * B @ L @ (V / x.sqrt()) @ V.mT


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_bures_wasserstein_at_low_rank(rank):
    n = 6
    L, B = drawn(n, rank), with_eigenvalues([3.0, 2.0, 1.0, 0.5, 0.2, 0.1])
    found = gradient(lambda L: bures_wasserstein(L @ L.mT, B, singular="zero"), L, torch.ones((), dtype=torch.float64))
    assert off(found, closed_form(L, B)) < 1e-9
    clamped = gradient(
        lambda L: bures_wasserstein(L @ L.mT, B, singular="clamp"), L, torch.ones((), dtype=torch.float64)
    )
    assert clamped.isfinite().all()
    assert off(clamped, closed_form(L, B)) < 1e-3


@pytest.mark.filterwarnings("error::resolvent.ConvergenceWarning")
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-11), (torch.float32, 3e-4)], ids=str)
def test_bures_wasserstein_whatever_rounding_does_to_what_is_nothing(dtype, limit):
    n, one = 16, torch.ones((), dtype=dtype)
    B = with_eigenvalues(torch.linspace(0.1, 3, n, dtype=torch.float64))
    for seed in range(12):
        L = drawn(n, 5, seed=seed)
        narrow = B.to(dtype)
        found = gradient(lambda L, B=narrow: bures_wasserstein(L @ L.mT, B, singular="zero"), L.to(dtype), one)
        assert off(found.double(), closed_form(L, B)) < limit


def test_bures_wasserstein_at_low_rank_is_refused_unless_asked_for():
    L, B = drawn(6, 2).requires_grad_(), with_eigenvalues([3.0, 2.0, 1.0, 0.5, 0.2, 0.1])
    with pytest.raises(rv.SingularError, match=r"^sqrtm: is not differentiable here"):
        bures_wasserstein(L @ L.mT, B).backward()


def test_bures_wasserstein_descends_from_low_rank():
    """Steps along the gradient reduce the distance to a target of the same rank to nothing."""
    target = orthonormal(5, 2) * torch.tensor([2.0, 1.0], dtype=torch.float64)
    B, L = target @ target.mT, drawn(5, 2, seed=3).requires_grad_()
    for _ in range(30):
        (g,) = torch.autograd.grad(bures_wasserstein(L @ L.mT, B, singular="zero"), L)
        assert g.isfinite().all()
        L = (L - 0.4 * g).detach().requires_grad_()
    assert float(bures_wasserstein(L @ L.mT, B, singular="zero").detach()) < 1e-3


def test_zero_matrices_have_zero_gradients_unless_refused():
    Z, G = torch.zeros(3, 3, dtype=torch.float64), drawn(3, 3)
    for singular in ("zero", "clamp"):
        assert not gradient(lambda A, s=singular: layers.sqrtm(A, singular=s), Z, G).any()
    with pytest.raises(rv.SingularError, match="sqrtm"):
        gradient(layers.sqrtm, Z, G)
