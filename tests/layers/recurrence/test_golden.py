"""Golden values of the family, computed once in float64 NumPy; every form comes to all their digits."""

import math

import pytest
import torch

from resolvent.layers import functional as F

FORMS = ["chunk", "fused_recurrent"]


def inputs():
    """q, k, v, log gamma, beta of four tokens, (1, 4, 1, ...), with D = 3 and V = 2."""
    t, i, j = (torch.arange(n, dtype=torch.float64) for n in (4, 3, 2))
    q = torch.sin(1 + 0.7 * t[:, None] + 1.3 * i)
    k = torch.cos(0.3 + 1.1 * t[:, None] + 0.9 * i)
    v = torch.sin(0.5 + 0.4 * t[:, None] + 1.7 * j)
    gamma = torch.tensor([0.9, 0.8, 0.95, 0.7], dtype=torch.float64)
    beta = torch.tensor([0.3, 0.9, 0.5, 0.7], dtype=torch.float64)
    q, k = (torch.nn.functional.normalize(rows, dim=-1) for rows in (q, k))
    return [rows[None, :, None] for rows in (q, k, v, gamma.log(), beta)]


def second():
    """Another key, value and beta a token."""
    t, i, j = (torch.arange(n, dtype=torch.float64) for n in (4, 3, 2))
    k = torch.nn.functional.normalize(torch.cos(0.8 + 0.6 * t[:, None] + 1.9 * i), dim=-1)
    v = torch.sin(1.5 + 0.9 * t[:, None] + 0.4 * j)
    beta = torch.tensor([1.5, 0.4, 1.1, 0.6], dtype=torch.float64)
    return [rows[None, :, None] for rows in (k, v, beta)]


def channels(g):
    """Decays gamma (1, 0.9, 0.8)."""
    return g[..., None] + torch.tensor([1, 0.9, 0.8], dtype=torch.float64).log()


def two_a_token(first, other):
    return torch.stack([first, other], 2).flatten(1, 2)


def agrees(o, at_1, at_3):
    found = o[0, [1, 3], 0]
    torch.testing.assert_close(found, torch.tensor([at_1, at_3], dtype=torch.float64), rtol=0, atol=6e-13)


@pytest.mark.parametrize("form", FORMS)
class TestForms:
    def test_linear_attention(self, form):
        q, k, v, _, _ = inputs()
        o, _ = getattr(F, f"{form}_linear_attn")(q, k, v, normalize=False)
        agrees(o, [0.533264538277, 0.619740988309], [0.736044556350, 0.340202623033])

    def test_simple_gla_written_with_beta(self, form):
        q, k, v, g, beta = inputs()
        o, _ = getattr(F, f"{form}_simple_gla")(q, beta[..., None] * k, v, g)
        agrees(o, [0.307409076556, 0.266816426468], [0.328784411356, 0.194840663930])

    def test_gla(self, form):
        q, k, v, g, _ = inputs()
        o, _ = getattr(F, f"{form}_gla")(q, k, v, channels(g))
        agrees(o, [0.467010365432, 0.508010894332], [0.362804883202, 0.176267812700])

    def test_delta_rule(self, form):
        q, k, v, _, beta = inputs()
        o, _ = getattr(F, f"{form}_delta_rule")(q, k, v, beta)
        agrees(o, [0.309275320965, 0.269963634473], [0.410135203068, 0.205800284670])

    def test_gated_delta_rule(self, form):
        o, _ = getattr(F, f"{form}_gated_delta_rule")(*inputs())
        agrees(o, [0.296354507873, 0.248174159199], [0.260863113340, 0.144148954357])

    def test_kda(self, form):
        q, k, v, g, beta = inputs()
        o, _ = getattr(F, f"{form}_kda")(q, k, v, channels(g), beta)
        agrees(o, [0.294156864641, 0.244468084935], [0.199509807697, 0.113929929577])

    def test_gated_delta_product(self, form):
        q, *first, g, beta = inputs()
        k, v, beta = (two_a_token(a, b) for a, b in zip((*first, beta), second(), strict=True))
        o, _ = getattr(F, f"{form}_gated_delta_product")(q, k, v, g, beta, 2)
        agrees(o, [0.374759282629, 0.333403085267], [0.461282619777, 0.237219714317])

    def test_longhorn(self, form):
        q, k, v, _, beta = inputs()
        o, _ = getattr(F, f"{form}_longhorn")(q, k, v, beta)
        agrees(o, [0.183504755587, 0.177041984339], [0.262283920358, 0.128414835388])

    def test_preconditioned_delta_rule(self, form):
        q, k, v, g, beta = inputs()
        decay, weight = torch.tensor([[0.95, 0.9, 0.85, 0.99], [0.6, 0.2, 0.8, 0.4]], dtype=torch.float64)
        rule = getattr(F, f"{form}_precond_gated_delta_rule")
        o, _, _ = rule(q, k, v, decay.log()[None, :, None], g, weight[None, :, None], beta)
        agrees(o, [0.361788860373, 0.299619642186], [0.301622761336, 0.167048512702])


@pytest.mark.parametrize("form", ["chunk", "recurrent"])
class TestFilters:
    def test_recursive_least_squares(self, form):
        q, k, v, _, _ = inputs()
        o, _ = F.rls(q, k, v, initial_covariance=2.0, form=form)
        agrees(o, [0.286418851231, 0.351142298384], [0.353437304139, 0.167509477066])

    def test_recursive_least_squares_with_forgetting(self, form):
        q, k, v, g, _ = inputs()
        o, _ = F.rls(q, k, v, g, initial_covariance=2.0, form=form)
        agrees(o, [0.302097286431, 0.365500238113], [0.365853556369, 0.177625870656])

    def test_kalman_filter(self, form):
        q, k, v, g, _ = inputs()
        o, _ = F.kalman_filter(q, k, v, g, process_noise=0.1, noise=0.3, form=form)
        agrees(o, [0.277874847314, 0.328753740167], [0.237802755894, 0.124161807757])

    def test_kalman_delta_network_of_one_variance(self, form):
        q, k, v, g, _ = inputs()
        o, _ = F.kdn(q, k, v, g, process_noise=0.1, noise=0.3, step_size=3, covariance="isotropic", form=form)
        agrees(o, [0.265498345593, 0.322234463281], [0.195333257634, 0.093850320449])

    def test_kalman_delta_network_of_a_diagonal(self, form):
        q, k, v, g, _ = inputs()
        o, _ = F.kdn(q, k, v, g, process_noise=0.1, noise=0.3, step_size=3, form=form)
        agrees(o, [0.262779022945, 0.320802070051], [0.213923843396, 0.106023538895])


def test_regression_of_decaying_memory_has_its_golden_values():
    q, k, v, g, _ = inputs()
    alpha = torch.tensor([0.2, 0.5, 0.8, 1], dtype=torch.float64)[None, :, None]
    o, _ = F.gated_kalmanet(q, k, v, g, g, alpha, solver="exact", form="recurrent")
    agrees(o, [0.430248612102, 0.506220538820], [0.430842993037, 0.208604472677])
    assert math.isfinite(float(o.sum()))
