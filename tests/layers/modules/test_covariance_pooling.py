"""Second-order pooling: the root of the covariance, as a vector with the distances of matrices."""

import pytest

import resolvent as rv

torch = pytest.importorskip("torch")

from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

from resolvent.layers import CovariancePooling  # noqa: E402

pytestmark = pytest.mark.filterwarnings("error::resolvent.ConvergenceWarning")


def drawn(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 4, 9), (2, 4, 3, 5)], ids=str)
def test_the_square_is_the_covariance(shape):
    x = drawn(*shape)
    S = CovariancePooling(ridge=0, triangle=False)(x)
    wanted = torch.stack([part.flatten(1).cov(correction=0) for part in x])
    assert torch.allclose(S @ S, wanted, atol=1e-10)


def test_ridges_are_relative_to_the_mean_variance():
    x = drawn(1, 3, 8)
    S = CovariancePooling(ridge=0.5, triangle=False)(x)[0]
    C = x[0].cov(correction=0)
    assert torch.allclose(S @ S, C + 0.5 * C.diagonal().mean() * torch.eye(3, dtype=torch.float64), atol=1e-10)


def test_distances_of_vectors_are_those_of_matrices():
    x = drawn(2, 4, 9)
    vectors, matrices = CovariancePooling()(x), CovariancePooling(triangle=False)(x)
    assert vectors.shape == (2, 10)
    assert torch.allclose((vectors[0] - vectors[1]).norm(), (matrices[0] - matrices[1]).norm())


@pytest.mark.parametrize("places", [6, 2])  # the covariance of two places has rank one
def test_derivatives(places):
    x = drawn(2, 3, places).requires_grad_()
    assert gradcheck(CovariancePooling(), x, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(CovariancePooling(), x, fast_mode=True, atol=1e-4)


def test_constant_channels_give_zero_and_no_nan():
    x = torch.ones(2, 3, 5, dtype=torch.float64, requires_grad=True)
    y = CovariancePooling()(x)
    assert not y.any()
    assert not torch.autograd.grad(y.sum(), x)[0].any()


def test_places_fewer_than_channels_have_finite_gradients_without_a_ridge():
    x = drawn(2, 6, 3).requires_grad_()
    (found,) = torch.autograd.grad(CovariancePooling(ridge=0)(x).sin().sum(), x)
    assert found.isfinite().all()


def test_half_precision_is_pooled_in_single():
    x = drawn(2, 3, 8).half()
    y = CovariancePooling()(x)
    assert y.dtype == torch.float16
    assert torch.allclose(y.float(), CovariancePooling()(x.float()), atol=2e-3)


def test_bad_input_is_refused():
    with pytest.raises(rv.InputError, match=r"x: found shape \(3,\)"):
        CovariancePooling()(torch.ones(3))
    with pytest.raises(TypeError, match="x: found list"):
        CovariancePooling()([1.0])
    with pytest.raises(rv.InputError, match="ridge: found -1; wanted a nonnegative number"):
        CovariancePooling(ridge=-1)
    with pytest.raises(rv.InputError, match="method: found 'other'"):
        CovariancePooling(method="other")(drawn(2, 3, 4))
