"""What a memory of covariances is worth when the truth drifts: the delta rule, regressions and the Kalman filter.

A linear map wanders, w' = a w + noise with a = sqrt(1 - q), and is seen through y = w . x + noise of variance s for random
x in d dimensions. Each memory predicts y before it is told; its error is compared with that of the Kalman filter, which
knows everything. Of the delta rule the stationary error is known in closed form, and with it the best rate.

    python examples/drift.py [--tokens 4000] [--runs 8] [--seed 0] [--figure drift.png]

A minute on two cores.
"""

import argparse
import math
from pathlib import Path

import torch
from torch.nn.functional import normalize

from resolvent.layers.functional import chunk_gated_delta_rule, gated_kalmanet, kalman_filter, rls


def delta_error(d, q, s, decay, rate):
    """The stationary squared error of the delta rule's weights, as a part of E |w|^2 = 1.

    Its step is w <- decay (w + rate x (y - w . x) / |x|^2).
    """
    a = math.sqrt(1 - q)
    c = (a * (decay - a) - q) / (1 - a * decay * (1 - rate / d))
    drift = (decay - a) ** 2 + 2 * decay * (decay - a) * (1 - rate / d) * c + q
    return (drift + (decay * rate) ** 2 * s / (d - 2)) / (1 - decay**2 * (1 - (2 * rate - rate**2) / d))


def best_rate(d, q, s):
    """The rate with the least error, for decay = a, which is the best of decays."""
    low, high = 0.0, 1.0  # the error falls and then rises in between; above 1 it only rises
    for _ in range(60):
        third = (high - low) / 3
        if delta_error(d, q, s, math.sqrt(1 - q), low + third) < delta_error(d, q, s, math.sqrt(1 - q), high - third):
            high -= third
        else:
            low += third
    return (low + high) / 2


def walks(d, q, s, runs, tokens, seed):
    """Inputs (runs, tokens, d), what is seen (runs, tokens), and what the truth would say without noise."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    x, truth = draw(runs, tokens, d), torch.empty(runs, tokens, dtype=torch.float64)
    w = draw(runs, d) / math.sqrt(d)
    for t in range(tokens):
        truth[:, t] = (w * x[:, t]).sum(1)
        w = math.sqrt(1 - q) * w + math.sqrt(q / d) * draw(runs, d)
    return x, truth + math.sqrt(s) * draw(runs, tokens), truth


def error(memory, x, seen, truth, forgotten):
    """Mean squared error of predictions of the truth, and its standard error from run to run; the first half is left out.

    The token after is asked for at each token; ``forgotten`` is what is left of the weights by then.
    """
    following = torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)
    q, k, v = following.unsqueeze(2), x.unsqueeze(2), seen[:, :, None, None]
    predicted = forgotten * memory(q, k, v)[0][:, :-1, 0, 0]
    late = slice(x.shape[1] // 2, None)
    errors = (predicted - truth[:, 1:])[:, late].square().mean(1)
    return float(errors.mean()), float(errors.std() / math.sqrt(len(errors)))


def steady(x, value):
    """The same log decay at every token."""
    return torch.full((*x.shape[:2], 1), math.log(value), dtype=x.dtype)


def kalman(x, q, s, d):
    """The filter that knows drift and noise."""
    g = steady(x, math.sqrt(1 - q))
    noise = max(s, 1e-12)
    return lambda queries, k, v: kalman_filter(
        queries, k, v, g, noise=noise, process_noise=q / d, initial_covariance=1 / d, scale=1.0
    )


def delta(x, q, rate):
    """The delta rule of unit keys; x and y are divided by |x|."""
    g = steady(x, math.sqrt(1 - q))
    length = x.norm(dim=-1)[:, :, None, None]
    beta = torch.full_like(g, rate)
    return lambda queries, k, v: chunk_gated_delta_rule(queries, k / length, v / length, g, beta, scale=1.0)
