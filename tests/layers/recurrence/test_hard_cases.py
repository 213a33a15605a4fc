"""What is hard on a recurrence."""

import pytest

torch = pytest.importorskip("torch")

from resolvent.layers.functional import rls  # noqa: E402


def test_recursive_least_squares_do_not_drift_apart_where_they_forget():
    """P grows by 1 / gamma a token, and what is skew in it would."""
    torch.manual_seed(0)
    tokens, D, gamma = 1500, 8, 0.9
    k, v = (torch.randn(1, tokens, 1, n, dtype=torch.float64) for n in (D, 3))
    g = torch.full((1, tokens, 1), gamma, dtype=torch.float64).log()
    _, (S, P) = rls(k, k, v, g, initial_covariance=1e3, output_final_state=True)
    weight = gamma ** torch.arange(tokens - 1, -1, -1, dtype=torch.float64)
    K, V = k[0, :, 0], v[0, :, 0]
    H = K.T @ (weight[:, None] * K)
    torch.testing.assert_close(P[0, 0], torch.linalg.inv(H), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(S[0, 0], torch.linalg.solve(H, K.T @ (weight[:, None] * V)), rtol=1e-8, atol=1e-8)
