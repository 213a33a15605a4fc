"""Which solver is taken, and to what tolerance, where none is named; the same in every form."""

import pytest

torch = pytest.importorskip("torch")

from resolvent.layers.regression import gated_kalmanet  # noqa: E402
from resolvent.layers.regression.arguments import as_solver  # noqa: E402
from resolvent.layers.regression.solving import Solver  # noqa: E402


def taken(dtype=torch.float32, solver=None, num_iter=None, rtol=None):
    return as_solver(solver, "wolkowicz_styan", num_iter, rtol, torch.ones(1, dtype=dtype))


def test_by_the_type_of_the_tokens():
    for dtype in (torch.float32, torch.float64):
        assert taken(dtype) == Solver("cg", "wolkowicz_styan", None, 1e-6)
    for dtype in (torch.bfloat16, torch.float16):
        assert taken(dtype) == Solver("chebyshev", "wolkowicz_styan", None, 3e-4)
        assert taken(dtype, "cg").rtol == 3e-4
    assert taken(solver="chebyshev").rtol == 3e-4
    assert taken(rtol=1e-2) == Solver("cg", "wolkowicz_styan", None, 1e-2)


def test_the_solver_of_the_paper_is_one_word():
    assert taken(solver="paper") == Solver("chebyshev", "frobenius", 30, None)
    assert taken(solver="paper", num_iter=10) == Solver("chebyshev", "frobenius", 10, None)
    assert taken(solver="paper", rtol=1e-3) == Solver("chebyshev", "frobenius", None, 1e-3)


@pytest.mark.parametrize("form", ["recurrent", "chunk", "compiled", "auto"])
def test_every_form_keeps_to_it(draw, form):
    tokens = draw(1, 100, 2, 16, 8, dtype=torch.float32)
    _, _, info = gated_kalmanet(*tokens, form=form, return_info=True)
    assert info.relative_residual.max() <= 1e-5
    _, _, info = gated_kalmanet(*tokens, form=form, solver="paper", return_info=True)
    assert (info.iterations == 30).all()
    assert 1e-5 < info.relative_residual.max() <= 3.3e-4


def test_gradients_are_as_good_as_single_precision(draw):
    """Those of the default against factorisations in double precision, and those of the paper's steps."""
    tokens = draw(1, 150, 2, 32, 16, decay=(0.98, 1.0), dtype=torch.float32)
    weights = torch.linspace(-1, 1, 150 * 2 * 16).sin().view(1, 150, 2, 16)

    def gradients(dtype, **how):
        leaves = [part.to(dtype).requires_grad_() for part in tokens]
        o, _ = gated_kalmanet(*leaves, form="chunk", **how)
        return torch.autograd.grad((o * weights.to(dtype)).sum(), leaves)

    wanted = gradients(torch.float64, solver="exact")

    def worst(found):
        return max(float((one - other).norm() / other.norm()) for one, other in zip(found, wanted, strict=True))

    default, paper = worst(gradients(torch.float32)), worst(gradients(torch.float32, solver="paper"))
    assert default < 2e-5
    assert default < paper / 30
