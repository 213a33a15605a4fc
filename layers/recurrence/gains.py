"""Gains: what is written of an error, the only part in which the filters of the family differ.

Each says what it takes the covariance of the keys to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from .recurrent import read, token_by_token

__all__ = ["Covariance", "diagonal_kalman", "implicit", "isotropic_kalman", "kalman", "preconditioner"]

STRETCH, CENTER = 1.5, -0.2  # of the preconditioner, as published


def implicit(k: torch.Tensor, beta: torch.Tensor | None) -> torch.Tensor:
    """beta / (1 + beta ||k||^2), the strength of the minimiser of ||S - S_{t-1}||^2 + beta ||v - S^T k||^2."""
    square = k.square().sum(-1, keepdim=True)
    return 1 / (1 + square) if beta is None else beta / (1 + beta * square)


def preconditioner(
    energy: torch.Tensor, stretch: float = STRETCH, center: torch.Tensor | float = CENTER, eps: float = 1e-6
) -> torch.Tensor:
    """m = exp(-ln(stretch) y / (1 + |y|)), y = log(energy + eps) - center: between 1/stretch and stretch.

    A substitute, with bounds, for the inverse of the energy: of the diagonal of H.
    """
    y = torch.log(energy + eps) - center
    return torch.pow(stretch, -y / (1 + y.abs()))


class Covariance(NamedTuple):
    """Gains w, (B, T, H, D), and the covariance after the last tokens, (N, H, ...)."""

    w: torch.Tensor
    final: torch.Tensor


def kalman(
    k: torch.Tensor,
    noise: torch.Tensor,
    initial: torch.Tensor,
    lengths: Sequence[int],
    growth: torch.Tensor | None = None,
    process_noise: torch.Tensor | None = None,
) -> Covariance:
    """P <- exp(growth_t) P + Q;  w_t = P k_t / (r_t + k_t^T P k_t);  P <- P - w_t (P k_t)^T.

    Token by token, since a gain needs the covariance before; differentiated by PyTorch, which keeps P of every token.

    Parameters
    ----------
    k : Tensor, (B, T, H, D)
    noise : Tensor, (B, T, H)
        r, the variance of values about what the true state holds for their keys.
    initial : Tensor, (N, H, D, D)
        P, symmetric positive semidefinite.
    lengths : sequence of int
    growth : Tensor, (B, T, H), optional
        Of the dynamics, twice their log decay; of forgetting, minus its log decay.
    process_noise : Tensor, (..., D, D), optional
        Q.
    """

    def step(P: torch.Tensor, k: torch.Tensor, r: torch.Tensor, factor: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if factor is not None:
            P = factor[..., None, None] * P
        if process_noise is not None:
            P = P + process_noise
        Pk = read(P, k)
        # By a product that is symmetric to the last bit: what is skew in P would grow where P does.
        root = (r + (k * Pk).sum(-1)).rsqrt().unsqueeze(-1)
        u = Pk * root
        return P - u.unsqueeze(-1) * u.unsqueeze(-2), u * root

    factors = None if growth is None else growth.exp()
    return _covariance(token_by_token(step, (k, noise, factors), initial, lengths), k)


def diagonal_kalman(
    k: torch.Tensor,
    noise: torch.Tensor,
    process_noise: torch.Tensor,
    precision: torch.Tensor,
    lengths: Sequence[int],
    step_size: float,
    g: torch.Tensor | None = None,
) -> Covariance:
    """p_i = gamma_i^2 / c_i + omega_i;  w = (p o k) / (r + sum p_i k_i^2);  c_i <- 1/p_i + s k_i^2 / r.

    Parameters
    ----------
    k : Tensor, (B, T, H, D)
    noise, process_noise : Tensor, (B, T, H), the latter also (B, T, H, D)
        r and omega.
    precision : Tensor, (N, H, D)
        c before the first tokens.
    lengths : sequence of int
    step_size : float
        s.
    g : Tensor, (B, T, H) or (B, T, H, D), optional
        Log decays, log gamma.
    """

    def step(c: torch.Tensor, k: torch.Tensor, r: torch.Tensor, omega: Any, decay: Any) -> Any:
        p = (1 / c if decay is None else decay / c) + (omega if omega.ndim == c.ndim else omega.unsqueeze(-1))
        w = p * k / (r + (p * k.square()).sum(-1)).unsqueeze(-1)
        return 1 / p + step_size * k.square() / r.unsqueeze(-1), w

    inputs = (k, noise, process_noise, _squared_decay(g))
    return _covariance(token_by_token(step, inputs, precision, lengths), k)


def isotropic_kalman(
    k: torch.Tensor,
    noise: torch.Tensor,
    process_noise: torch.Tensor,
    precision: torch.Tensor,
    lengths: Sequence[int],
    step_size: float,
    g: torch.Tensor | None = None,
) -> Covariance:
    """p = mean(gamma^2) / c + omega;  w = p k / (r + p ||k||^2);  c <- 1/p + s ||k||^2 / (D r).

    Parameters as of ``diagonal_kalman``, but the precision, (N, H, 1), is one number.
    """

    def step(c: torch.Tensor, k: torch.Tensor, r: torch.Tensor, omega: Any, decay: Any) -> Any:
        p = (1 / c if decay is None else decay / c) + omega.unsqueeze(-1)
        square, r = k.square().sum(-1, keepdim=True), r.unsqueeze(-1)
        return 1 / p + step_size * square / (k.shape[-1] * r), p * k / (r + p * square)

    decay = _squared_decay(g)
    inputs = (k, noise, process_noise, None if decay is None else decay.mean(-1, keepdim=True))
    return _covariance(token_by_token(step, inputs, precision, lengths), k)


def _squared_decay(g: torch.Tensor | None) -> torch.Tensor | None:
    """gamma^2, (B, T, H, 1 or D)."""
    return None if g is None else (2 * (g if g.ndim == 4 else g.unsqueeze(-1))).exp()


def _covariance(found: tuple[torch.Tensor | None, torch.Tensor], k: torch.Tensor) -> Covariance:
    w, final = found
    return Covariance(torch.zeros_like(k) if w is None else w, final)
