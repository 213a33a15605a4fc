"""Where members of the family coincide exactly: what each assumes, stated as an equation."""

import pytest
import torch

from resolvent.layers import functional as F

T, H, D, V = 40, 2, 4, 3


@pytest.fixture
def tokens():
    """q, unit k, v, log decays, beta; in double precision."""
    generator = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    k = torch.nn.functional.normalize(normal(1, T, H, D), dim=-1)
    return normal(1, T, H, D), k, normal(1, T, H, V), -0.1 * normal(1, T, H).abs(), normal(1, T, H).sigmoid()


def close(found, wanted, tolerance=1e-12):
    assert (found - wanted).norm() <= tolerance * wanted.norm()


def ridge(q, k, v, g, prior):
    """U_t^T (H_t + prior_t I)^{-1} q_t, every sum written out; prior is (1, T, H)."""
    total = g.cumsum(1)
    decay = (total.unsqueeze(2) - total.unsqueeze(1)).exp() * torch.ones(T, T, dtype=g.dtype).tril()[None, :, :, None]
    memory = torch.einsum("btjh,bjhd,bjhe->bthde", decay, k, k)
    values = torch.einsum("btjh,bjhd,bjhv->bthdv", decay, k, v)
    x = torch.linalg.solve(memory + prior[..., None, None] * torch.eye(D, dtype=g.dtype), q)
    return D**-0.5 * torch.einsum("bthdv,bthd->bthv", values, x)


def test_ridge_regression_is_recursive_least_squares_is_the_filter_of_a_state_at_rest(tokens):
    q, k, v, g, _ = tokens
    wanted = ridge(q, k, v, torch.zeros_like(g), torch.full_like(g, 0.5))
    close(F.rls(q, k, v, initial_covariance=2.0)[0], wanted)
    close(F.kalman_filter(q, k, v, noise=1.0, initial_covariance=2.0)[0], wanted)


def test_forgetting_least_squares_has_a_prior_that_fades(tokens):
    q, k, v, g, _ = tokens
    found, _ = F.rls(q, k, v, g, initial_covariance=2.0)
    close(found, ridge(q, k, v, g, 0.5 * g.cumsum(1).exp()))
    constant = ridge(q, k, v, g, torch.full_like(g, 0.5))
    assert (found - constant).norm() > 0.01 * constant.norm()


def test_the_delta_rule_is_a_filter_whose_covariance_stays_one(tokens):
    q, k, v, _, beta = tokens
    _, state = F.chunk_delta_rule(q[:, :20], k[:, :20], v[:, :20], beta[:, :20], output_final_state=True)
    q, k, v, beta = (rows[:, 20:21] for rows in (q, k, v, beta))
    wanted, _ = F.chunk_delta_rule(q, k, v, beta, initial_state=state)
    close(F.kalman_filter(q, k, v, noise=1 / beta - 1, initial_state=state)[0], wanted)


def test_the_gated_delta_rule_is_a_filter_that_predicts_from_a_covariance_of_one(tokens):
    q, k, v, g, _ = tokens
    state = torch.randn(1, H, D, V, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q, k, v, g = (rows[:, :1] for rows in (q, k, v, g))
    variance, noise = (2 * g).exp() + 1, 0.3
    wanted, _ = F.chunk_gated_delta_rule(q, k, v, g, variance / (variance + noise), initial_state=state)
    close(F.kalman_filter(q, k, v, g, noise=noise, process_noise=1.0, initial_state=state)[0], wanted)


def test_longhorn_is_the_minimiser(tokens):
    q, k, v, _, beta = tokens
    _, before = F.chunk_longhorn(q[:, :9], k[:, :9] * 2, v[:, :9], beta[:, :9], output_final_state=True)
    _, found = F.chunk_longhorn(q[:, :10], k[:, :10] * 2, v[:, :10], beta[:, :10], output_final_state=True)
    key, value, b = 2 * k[:, 9], v[:, 9], beta[:, 9, :, None, None]
    # (I + beta k k^T) S = S_before + beta k v^T
    outer = torch.eye(D, dtype=torch.float64) + b * key[..., :, None] * key[..., None, :]
    close(found, torch.linalg.solve(outer, before + b * key[..., :, None] * value[..., None, :]))


def test_filters_of_a_diagonal_and_of_one_number_differ_unless_keys_have_equal_squares(tokens):
    q, k, v, g, _ = tokens
    given = {"noise": 0.3, "process_noise": 0.1}
    diagonal, one = (F.kdn(q, k, v, g, covariance=kind, **given)[0] for kind in ("diagonal", "isotropic"))
    assert (diagonal - one).norm() > 1e-3 * one.norm()
    signs = k.sign() * D**-0.5
    diagonal, one = (F.kdn(q, signs, v, g, covariance=kind, **given)[0] for kind in ("diagonal", "isotropic"))
    close(diagonal, one)


def test_noise_of_every_channel_alike_is_noise_of_the_head(tokens):
    q, k, v, g, beta = tokens
    found, _ = F.kdn(q, k, v, g, process_noise=beta[..., None].expand(q.shape))
    close(found, F.kdn(q, k, v, g, process_noise=beta)[0])


def test_a_preconditioner_of_one_is_the_gated_delta_rule(tokens):
    q, k, v, g, beta = tokens
    still = torch.zeros_like(g)
    found, _, energy = F.chunk_precond_gated_delta_rule(
        q, k, v, still, g, still, beta, use_qk_l2norm_in_kernel=False, initial_A_state=torch.ones(1, H, D).double(),
        eps=0.0, log_atk_scale=0.0, output_final_state=True,
    )  # fmt: skip
    close(found, F.chunk_gated_delta_rule(q, k, v, g, beta)[0])
    assert torch.equal(energy, torch.ones_like(energy))


def test_regression_without_share_is_gated_linear_attention(tokens):
    q, k, v, g, _ = tokens
    found, _ = F.gated_kalmanet(q, k, v, g, g, torch.zeros_like(g), solver="exact")
    close(found, F.chunk_simple_gla(q, k, v, g)[0])


def test_regression_with_a_large_ridge_is_linear_attention(tokens):
    q, k, v, _, _ = tokens
    ratio = 1e13
    found, _ = F.gated_kalmanet(q, k, v, solver="exact", ridge_ratio=ratio)
    memory = torch.einsum("bthd,bthe->bthde", k, k).cumsum(1)
    close(found * ratio * torch.linalg.matrix_norm(memory)[..., None], F.chunk_linear_attn(q, k, v, normalize=False)[0])


def test_orthonormal_keys_make_ridge_regression_linear_attention(tokens):
    q, _, v, _, _ = tokens
    k = torch.eye(D, dtype=torch.float64)[None, :, None].expand(1, D, H, D)
    q, v = q[:, :D], v[:, :D]
    found, _ = F.rls(q, k, v, initial_covariance=2.0)
    close(found, F.chunk_linear_attn(q, k, v, normalize=False)[0] / 1.5)


def test_one_channel_decay_for_all_channels_is_that_of_the_head(tokens):
    q, k, v, g, beta = tokens
    channels = g[..., None].expand(q.shape)
    close(F.chunk_kda(q, k, v, channels, beta)[0], F.chunk_gated_delta_rule(q, k, v, g, beta)[0])
    close(F.chunk_gla(q, k, v, channels)[0], F.chunk_simple_gla(q, k, v, g)[0])


def test_one_correction_a_token_is_the_gated_delta_rule(tokens):
    q, k, v, g, beta = tokens
    close(F.chunk_gated_delta_product(q, k, v, g, beta, 1)[0], F.chunk_gated_delta_rule(q, k, v, g, beta)[0])


def test_erasing_the_undecayed_state_erases_more_of_the_decayed_one(tokens):
    q, k, v, g, beta = tokens
    found, _ = F.chunk_comba(q, k, v, k * g[..., None].exp(), g, beta)
    close(found, F.chunk_gated_delta_rule(q, k, v, g, beta)[0])


def test_strength_of_two_reflects():
    k = torch.eye(2, dtype=torch.float64)[None, :1, None].expand(1, 7, 1, 2)
    state = torch.tensor([[[[1.0], [1.0]]]], dtype=torch.float64)
    o, _ = F.chunk_delta_rule(
        k, k, torch.zeros(1, 7, 1, 1).double(), torch.full((1, 7, 1), 2.0).double(), scale=1.0, initial_state=state
    )
    assert o.flatten().tolist() == [-1, 1, -1, 1, -1, 1, -1]
