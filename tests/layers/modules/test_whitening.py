"""Whitening: what comes out is uncorrelated, of the batch in training and by running statistics after it."""

import pytest

import resolvent as rv

torch = pytest.importorskip("torch")

from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

from resolvent.layers import Whitening  # noqa: E402

pytestmark = pytest.mark.filterwarnings("error::resolvent.ConvergenceWarning")


def correlated(*shape, seed=0, dtype=torch.float64):
    """Channels that vary together, with means that are not zero."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64, generator=generator)
    M = torch.randn(shape[1], shape[1], dtype=torch.float64, generator=generator)
    return (torch.einsum("ij,nj...->ni...", M, x) + 3).to(dtype)


def covariance(x):
    return x.movedim(1, 0).flatten(1).cov(correction=0)


@pytest.mark.parametrize("shape", [(50, 4), (10, 4, 7), (5, 4, 3, 6)], ids=str)
def test_outputs_are_uncorrelated(shape):
    x = correlated(*shape)
    y = Whitening(4, ridge=1e-10).double()(x)
    assert y.shape == x.shape
    assert torch.allclose(covariance(y), torch.eye(4, dtype=torch.float64), atol=1e-7)
    assert torch.allclose(y.movedim(1, 0).flatten(1).mean(1), torch.zeros(4, dtype=torch.float64), atol=1e-10)


def test_whitening_is_symmetric():
    """ZCA among all whitenings: the one that turns nothing."""
    x = correlated(50, 3)
    y = Whitening(3, ridge=1e-10).double()(x)
    cross = (y.T @ (x - x.mean(0))) / 50
    assert torch.allclose(cross, cross.T, atol=1e-10)
    assert (torch.linalg.eigvalsh(cross) > 0).all()


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_do_not_matter(scale):
    x = correlated(20, 3)
    assert torch.allclose(Whitening(3).double()(scale * x), Whitening(3).double()(x), rtol=1e-9, atol=1e-9)


def test_evaluation_takes_the_running_statistics():
    layer, batches = Whitening(3, momentum=None, affine=False).double(), [correlated(40, 3, seed=k) for k in range(4)]
    for x in batches:
        layer(x)
    mean = torch.stack([x.mean(0) for x in batches]).mean(0)
    cov = torch.stack([x.T.cov() for x in batches]).mean(0)
    assert torch.allclose(layer.running_mean, mean)
    assert torch.allclose(layer.running_cov, cov)
    assert int(layer.num_batches_tracked) == 4
    x = correlated(5, 3, seed=9)
    layer.eval()
    values, vectors = torch.linalg.eigh(cov + 1e-3 * cov.diagonal().mean() * torch.eye(3, dtype=torch.float64))
    wanted = (x - mean) @ (vectors / values.sqrt()) @ vectors.T
    assert torch.allclose(layer(x), wanted)
    assert torch.allclose(layer(x[:1]), wanted[:1])  # one at a time as well
    assert int(layer.num_batches_tracked) == 4


def test_momentum_is_that_of_batch_norm():
    x = correlated(30, 3)
    layer, norm = Whitening(3, momentum=0.3).double(), torch.nn.BatchNorm1d(3, momentum=0.3).double()
    for _ in range(2):
        layer(x)
        norm(x)
    assert torch.allclose(layer.running_mean, norm.running_mean)
    assert torch.allclose(layer.running_cov.diagonal(), norm.running_var)


def test_states_are_saved_and_loaded():
    layer, other, x = Whitening(3).double(), Whitening(3).double(), correlated(30, 3)
    layer(x)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.eval()(x), layer.eval()(x))


@pytest.mark.parametrize("training", [True, False])
def test_derivatives(training):
    layer = Whitening(2).double().train(training)
    names = [name for name, _ in layer.named_parameters()]

    def function(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    tensors = [correlated(6, 2).requires_grad_(), *(p.detach().clone().requires_grad_() for p in layer.parameters())]
    assert gradcheck(function, tensors, fast_mode=True)
    assert gradgradcheck(function, tensors, fast_mode=True, atol=1e-4)


def test_batches_that_lack_rank_are_whitened_by_the_ridge():
    x = correlated(3, 8).requires_grad_()
    y = Whitening(8, ridge=1e-2).double()(x)
    (found,) = torch.autograd.grad(y.sin().sum(), x)
    assert y.isfinite().all()
    assert found.isfinite().all()


def test_without_running_statistics_the_batch_is_whitened_always():
    layer, x = Whitening(3, track_running_stats=False).double(), correlated(30, 3)
    assert layer.running_cov is None
    assert torch.equal(layer(x), layer.eval()(x))


def test_half_precision_is_whitened_in_single():
    x = correlated(30, 3, dtype=torch.bfloat16)
    y = Whitening(3)(x)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), Whitening(3)(x.float()), atol=2e-2)


def test_bad_input_is_refused():
    with pytest.raises(rv.InputError, match=r"x: found shape \(5, 4\); wanted \(N, 3, .*\), where 3 is num_features"):
        Whitening(3)(torch.ones(5, 4))
    with pytest.raises(rv.InputError, match="x: found 1 value a channel; wanted at least 2"):
        Whitening(3)(torch.ones(1, 3))
    with pytest.raises(rv.InputError, match=r"x: found shape \(3,\)"):
        Whitening(3)(torch.ones(3))
    with pytest.raises(TypeError, match=r"x: found torch\.int64"):
        Whitening(3)(torch.ones(5, 3, dtype=torch.long))
    with pytest.raises(rv.InputError, match="ridge: found 0; wanted a positive number"):
        Whitening(3, ridge=0)
    with pytest.raises(TypeError, match="ridge: found 'large'"):
        Whitening(3, ridge="large")
    with pytest.raises(rv.InputError, match="momentum: found 2"):
        Whitening(3, momentum=2.0)
    with pytest.raises(rv.InputError, match="num_features: found 0"):
        Whitening(0)
    with pytest.raises(rv.SingularError):
        Whitening(3)(torch.ones(5, 3))
    with pytest.raises(rv.InputError, match="method: found 'other'"):
        Whitening(3, method="other")(correlated(5, 3))
